/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Every step that a target can see (a ptrace request, a write, a wait between
 * them) announces itself here first, so that a test can end memwho before each
 * of them in turn. NULL outside of tests.
 */

extern void (*steps_hook)(const char *what);

static inline void steps_before(const char *what)
{
	if (steps_hook)
		steps_hook(what);
}
