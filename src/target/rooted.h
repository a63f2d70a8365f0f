/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Opening files inside a directory that somebody hostile may arrange: a link
 * never leads out of it ("/" and ".." mean the directory itself), and what is
 * opened is a regular file, never a FIFO that blocks or a device that acts on
 * being opened.
 */

/* Open @path below @root_fd for reading. Returns the fd or -errno:
 * -EMEDIUMTYPE if it is not a regular file. */
int rooted_open(int root_fd, const char *path);

/* The same for a file that is already held by an O_PATH fd (not taken over). */
int rooted_reopen(int path_fd);
