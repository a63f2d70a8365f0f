/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A Go heap as a row of the ladder. */

#include "runtime/go/go_heap.h"
#include "runtime/runtime.h"

/* Row and ranges of @h, read now; sums are taken again, a few times, while they contradict. */
int go_report_add(const struct runtime_view *v, const struct regions_input *in, struct peek *p,
                  struct go_heap *h, struct regions *to, struct error *err);
/* "go1.26.8" of the module whose file is @path, from .go.buildinfo; "" not known. */
void go_report_version(const struct runtime_view *v, const char *path, char *buf, size_t size);
