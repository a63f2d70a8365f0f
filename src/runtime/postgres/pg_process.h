/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What kind of process of a server a title belongs to, in the words of
 * pg_stat_activity.backend_type. Titles and not MyBackendType: the numbers of
 * that enum change with every version, and one number covers several kinds of
 * background workers.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* @title is the command line ("postgres: checkpointer", "postgres: main: user db
 * [local] idle"). False when it is not a server's. "postmaster" for a command
 * line with arguments instead of a title is the caller's to decide. */
bool pg_process_kind(const char *title, char *buf, size_t size);

/* The process that a parallel worker works for ("postgres: parallel worker for PID 4711"); 0: not
 * one. As the server's pid namespace counts. */
pid_t pg_process_leader(const char *title);
