/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What one x86-64 function does to its stack pointer and rbp, found by following
 * its instructions. The rule: all or nothing. A function whose every path is
 * understood, agrees with the others wherever they meet, and returns with the
 * stack as it was, has rows; any other function has none.
 *
 * It relies on the psABI: a callee keeps rbp and returns with rsp behind the
 * return address; nobody else writes a frame's saved registers.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "unwind/rows.h"

enum { FLOW_MAX_BYTES = 256 << 10 };

/* Add the rows of a function at @vaddr to the piece begun last. A positive
 * answer: not understood; rows may have been added, forget the piece. */
int flow_add_rows(const uint8_t *code, size_t len, uint64_t vaddr, struct rows *rows,
                  struct error *err);

/* Call @fn for the target of each direct jump that leaves the function, decoding
 * from its first byte to its last. */
void flow_each_exit(const uint8_t *code, size_t len, uint64_t vaddr,
                    void (*fn)(uint64_t target, void *arg), void *arg);
