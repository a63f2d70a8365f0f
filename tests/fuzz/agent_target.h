/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* For fuzz targets of what is read back from an agent: a file stands for the target's
 * memory, this process for its modules. */

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/tracee.h"
#include "inject/transaction.h"

static struct {
	struct target *target;
	struct symbol_pool *pool;
	struct tracee tracee;
	struct inject inject;
	int fd;
} of;

static void set_up(void)
{
	const struct symbol_options options = { .no_debuginfod = true, .no_inline = true };
	struct error err;

	if (of.target)
		return;
	of.fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (of.fd < 0 || target_open(getpid(), &of.target, &err) < 0 ||
	    symbol_pool_new(&options, &of.pool, &err) < 0 ||
	    symbol_space_new(of.pool, of.target, &of.tracee.space, &err) < 0)
		exit(1);
	of.tracee.target = of.target;
	of.inject = (struct inject){ .target = of.target, .mem_fd = of.fd, .lock = LOCK_NONE };
}
