/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The engine's insides, shared by engine_bpf*.c only. */

#include <pthread.h>

#include <bpf/libbpf.h>

#include "alloc/engine_bpf.h"
#include "base/hash.h"

struct alloc_bpf;

/* One hash map of the live table. */
struct engine_bpf_level {
	int fd;
	u64 capacity;
};

enum { ENGINE_BPF_MAX_DETACHING = 64 };

struct engine_bpf {
	struct alloc_bpf *skel;
	struct alloc_bpf *perf; /* programs for perf events over the same maps, once needed */
	struct ring_buffer *ring;
	bool sessions, multi;

	struct bpf_tables tables;
	struct bpf_tables_lists ranges; /* internal to the allocators */
	u32 n_plans;
	bool begun[STACK_MAX_PROCESSES]; /* only the first description makes a slot active */

	struct engine_bpf_level levels[ALLOC_MAX_LEVELS];
	u32 n_levels;
	int reset_fds[2];
	u32 reset_capacity;
	u64 swept_bytes, swept_resets;
	u64 swept_ns, sweep_cost_ns;  /* when the last sweep ended, how long it took */
	struct hash_map known_resets; /* context key -> epoch of its last reset that was read */
	bool growth_refused;

	pthread_t loader; /* of the programs for perf events */
	bool loading;
	pthread_t detaching[ENGINE_BPF_MAX_DETACHING];
	size_t n_detaching;

	int (*event_fn)(void *arg, const struct alloc_event *event);
	void *event_arg;
};
