/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * PostgreSQL's memory contexts as a runtime: 10 to 18, without symbols, forks of
 * it class by class. The surprising rule: nothing depends on a version number;
 * what the binary and the live contexts say is used, and checked, before a probe
 * is offered.
 */

#include "runtime/runtime.h"

extern const struct runtime_ops postgres_runtime;
