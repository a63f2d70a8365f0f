/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What inject.c and snapshot.c share: a session, and one transaction of it. */

#include "inject/area.h"
#include "inject/held.h"
#include "inject/inject.h"
#include "inject/journal.h"
#include "inject/lock.h"
#include "inject/safe_point.h"
#include "inject/stub.h"

struct inject {
	const struct target *target;
	struct symbol_space *space;
	struct safe_point *safe; /* of the last function */
	uint64_t safe_function;
	struct safe_point_avoid avoid;
	int mem_fd;
	struct lock lock;
	uint64_t area;
	struct area_cave cave;
	struct journal journal; /* as last written or read */
	struct held_limbo limbo;
	unsigned timeout_ms;
	bool prefer_running;
	pid_t only; /* the thread to be lent; 0: any */
	struct inject_stats stats;
};

/* -EBUSY where a debugger has it: two cannot trace a thread. */
int transaction_refuse_traced(const struct target *t, struct error *err);

/* Take up the journal of the area, choose a slot that no thread is in and a
 * thread (at a safe point, if @safe). */
int transaction_begin(struct inject *in, bool safe, struct held *ret, uint64_t *ret_slot,
                      struct error *err);
/* Write @stub into @slot, send the thread there, and wait for its end. */
int transaction_run(struct inject *in, struct held *h, uint64_t slot, const struct stub *stub,
                    struct error *err);
/* Some system calls in the cave; @done tells that they have had their effect. -ECANCELED: they were
 * made and had not. */
int transaction_raw(struct inject *in, const struct stub_call *calls, size_t n,
                    bool (*done)(struct inject *in), struct error *err);

/* What a memwho that was killed has left of a first stub goes, once nobody is in it: the file's own
 * bytes come back. 1 done, 0 nothing was there. */
int transaction_restore_cave(struct inject *in, struct error *err);

int transaction_read_journal(struct inject *in, struct error *err);
int transaction_write_journal(struct inject *in, struct error *err);
