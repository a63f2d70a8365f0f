/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Kills the program itself before step number kill_step of what memwho's code
 * announces (base/steps.h), or stops it, by kill_signal; with MEMWHO_STEPS in the environment it
 * names them.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static long kill_step = -1, n_steps;
static int kill_signal = SIGKILL;

static void step(const char *what)
{
	if (getenv("MEMWHO_STEPS"))
		fprintf(stderr, "%ld %s\n", n_steps, what);
	if (n_steps++ != kill_step)
		return;
	kill(getpid(), kill_signal);
	while (kill_signal == SIGKILL)
		pause();
}
