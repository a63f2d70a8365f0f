/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Programs that sample their allocations themselves and say so by the trace points of
 * OpenTelemetry's memory profiling (opentelemetry-ebpf-profiler, design document 00003):
 * otel_memory:alloc(pointer, size, bytes that it stands for) and otel_memory:free(pointer)
 * of a block that was sampled. Never found by itself: it is another engine's, alloc --engine
 * usdt.
 */

#include "runtime/runtime.h"

extern const struct runtime_ops usdt_runtime;
