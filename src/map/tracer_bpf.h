/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The loader of bpf/map.bpf.c: programs, maps, the ring of events. It knows
 * slots and events; what they mean is tracer_apply.c's business. The kernel
 * owns everything that is attached: when memwho dies, however it dies, it goes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "unwind/bpf_tables.h"

#include "bpf/map_format.h"

struct tracer_bpf;

struct tracer_bpf_options {
	struct bpf_tables_sizes tables;
	size_t ring_bytes; /* rounded up to a power of two */
	bool follow, touches;
};

/* Load the programs. -EPERM, -ENOTSUP: with a hint on what is missing. */
int tracer_bpf_open(const struct tracer_bpf_options *o, struct tracer_bpf **ret, struct error *err);
struct tracer_bpf *tracer_bpf_close(struct tracer_bpf *b);
void tracer_bpf_closep(struct tracer_bpf **b);

/* Only the calls that change an address space pay (else all calls of the
 * machine are looked at). */
bool tracer_bpf_is_per_call(const struct tracer_bpf *b);
struct bpf_tables *tracer_bpf_tables(struct tracer_bpf *b);
const volatile struct map_counters *tracer_bpf_counters(const struct tracer_bpf *b);

/* A slot for process @tgid. */
int tracer_bpf_new_slot(struct tracer_bpf *b, pid_t tgid, u32 *ret_slot, struct error *err);
/* From the attach on its events are told, with this slot. */
int tracer_bpf_watch(struct tracer_bpf *b, pid_t tgid, u32 slot, struct error *err);
pid_t tracer_bpf_process_of(const struct tracer_bpf *b, u32 slot);
int tracer_bpf_attach(struct tracer_bpf *b, struct error *err);
void tracer_bpf_detach(struct tracer_bpf *b);

/* Call @fn for each waiting event, not for more than about @max. Returns how
 * many (>= 0). An error of @fn (-errno) ends it. */
int tracer_bpf_consume(struct tracer_bpf *b, size_t max,
                       int (*fn)(void *arg, const struct map_event *e, struct error *err),
                       void *arg, struct error *err);

/* Calls that have been entered and have not returned, of all processes: up to
 * @max. */
size_t tracer_bpf_in_flight(struct tracer_bpf *b, struct map_in_flight *ret, size_t max);

/* How often the modules of @slot have changed; up to where its spans are right. */
u32 tracer_bpf_modules_changed(const struct tracer_bpf *b, u32 slot);
void tracer_bpf_set_modules_seen(struct tracer_bpf *b, u32 slot, u32 changed);
/* Take a stack with every @stride'th event; 0: none. */
void tracer_bpf_set_stride(struct tracer_bpf *b, u32 stride);
