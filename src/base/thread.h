/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Threads that no signal is given to: those are for the threads that wait for them. */

#include <pthread.h>

/* As pthread_create(): 0, or a positive errno. */
int thread_start(pthread_t *ret, void *(*run)(void *arg), void *arg);
