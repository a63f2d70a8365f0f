/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Which Go made a program: .go.buildinfo, which stripping leaves. */

#include <stddef.h>

#include "target/elf_file.h"

/* "go1.26.8", "go1.25.4 X:greenteagc"; "" when it is none. */
void go_version_text(struct elf_file *elf, char *buf, size_t size);
/* 26 of "go1.26.8"; 0: not known. */
unsigned go_version_minor(const char *text);
