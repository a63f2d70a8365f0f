/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The agents of a recorder: for whoever keeps them waiting, and for new ones. */

#include "alloc/recorder.h"

/* An agent into @t, which the recorder has. */
int recorder_agent_attach(struct alloc_recorder *r, struct tracee *t, struct error *err);

/* Once round all processes of a struct alloc_recorder: read what has come, keep the agents
 * alive. */
void recorder_agent_serve(void *recorder);
