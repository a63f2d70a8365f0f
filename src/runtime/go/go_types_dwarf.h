/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Types from the program's DWARF (v4 or v5, compressed or not). The surprising
 * rule: maps, channels and their insides need no code of their own, for the linker
 * writes synthetic types of them (ld/dwarf.go, synthesizemaptypes and others):
 * hash<K,V>, map<K,V>, hchan<T>. Entries are offsets of DIEs.
 */

#include <elfutils/libdw.h>

#include "runtime/go/go_types_source.h"

struct go_types_dwarf;
extern const struct go_types_source go_types_dwarf_source;

/* 1: opened; 0: the program has no DWARF (*ret is NULL). */
int go_types_dwarf_open(const struct go_module *m, struct go_types *types,
                        struct go_types_dwarf **ret, struct error *err);

/* Lives as long as @d. */
Dwarf *go_types_dwarf_handle(struct go_types_dwarf *d);

/* Entries; 0: none. As the functions of go_types.h. */
uint64_t go_types_dwarf_variable(struct go_types_dwarf *d, uint64_t addr, uint64_t *start);
/* Name of the variable at or before @addr; "". */
const char *go_types_dwarf_variable_name(struct go_types_dwarf *d, uint64_t addr);
uint64_t go_types_dwarf_descriptor(struct go_types_dwarf *d, uint64_t addr);
uint64_t go_types_dwarf_closure(struct go_types_dwarf *d, uint64_t pc);
