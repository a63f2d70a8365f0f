/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* In the report: by what the allocators were found in modules without symbols. */

#include "alloc/recorder.h"

int result_by_code_put(const struct alloc_recorder *r, struct report *to, struct error *err);
