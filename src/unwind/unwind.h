/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The unwinder in user space; reads the same tables as the BPF one. */

#include <stddef.h>
#include <stdint.h>

#include "bpf/unwind_format.h"
#include "unwind/table.h"

struct unwind_module {
	uint64_t start, end; /* executable mapping at run time */
	uint64_t bias;
	const struct unwind_table *table; /* may be NULL */
};

/* Read @len bytes of the stack at @addr: 0 or -errno. */
typedef int (*unwind_read)(void *arg, uint64_t addr, void *buf, size_t len);

struct unwind_regs {
	uint64_t pc, sp, bp;
};

/* Walk from @regs. @modules are sorted by start. Fills @pcs (the first is
 * regs.pc, the others are return addresses) and returns how many; *stop says
 * how it ended. */
size_t unwind_walk(const struct unwind_module *modules, size_t n_modules, struct unwind_regs regs,
                   unwind_read read, void *arg, uint64_t *pcs, size_t max, enum unwind_stop *stop);
