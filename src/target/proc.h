/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The text files of /proc, read relative to a directory that is held open.
 * Nothing here fills an error: callers know what the file was for.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Fields of /proc/PID/stat (proc_pid_stat(5)). */
struct proc_stat {
	char comm[64]; /* any bytes, may hold ')' and spaces */
	char state;    /* R S D Z T t X I ... */
	pid_t parent;
	uint32_t flags; /* PF_ of the kernel's sched.h */
	int64_t n_threads;
	uint64_t start_ticks;
	uint64_t stack_start; /* another one after each exec; 0: not ours to know */
};

/* Whole file @name of directory @dir_fd, malloc'ed and NUL-terminated; the
 * kernel's files are read to their end whatever st_size says. 0 or -errno;
 * -EFBIG if there are more than @max bytes. */
int proc_read(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len);

/* 0 or -EINVAL. */
int proc_stat_parse(const char *text, size_t len, struct proc_stat *ret);
int proc_stat_read(int dir_fd, struct proc_stat *ret);

/* A kernel thread, or ended: has no memory to look at. */
bool proc_stat_is_kernel(const struct proc_stat *s);
bool proc_stat_is_dead(const struct proc_stat *s);

/* "Key:\t..." line of a status text: the text behind the blanks, or NULL. */
const char *proc_status_line(const char *text, const char *key);

/* Numeric entries of a directory, ascending, malloc'ed. */
int proc_ids(int dir_fd, const char *name, pid_t **ret, size_t *ret_n);

/* /proc/PID as a directory fd, or -errno. */
int proc_open(pid_t pid);
