/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The exact engine's operations (struct engine_ops, which has their contracts), for an
 * engine that only begins otherwise. */

#include "alloc/engine.h"

int recorder_bpf_open(struct alloc_recorder *r, const struct engine_request *q, struct error *err);
int recorder_bpf_poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended,
                      struct error *err);
uint64_t recorder_bpf_held_bytes(const struct alloc_recorder *r);
void recorder_bpf_detach(struct alloc_recorder *r);
void recorder_bpf_close(struct alloc_recorder *r);
