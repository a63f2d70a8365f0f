/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The agents of a recorder, for whoever keeps them waiting. */

/* Once round all processes of a struct alloc_recorder: read what has come, keep the agents
 * alive. */
void recorder_agent_serve(void *recorder);
