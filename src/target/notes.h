/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * ELF notes (gABI, "Note Section") in bytes that are at hand, and hostile.
 */

#include <stddef.h>
#include <stdint.h>

/* The build-id that the go command gives each program: type 4 of owner "Go\0\0"
 * (cmd/link/internal/ld/elf.go, ELF_NOTE_GOBUILDID_TAG; 1.5 to 1.26). */
#define NOTES_OWNER_GO  "Go\0"
#define NOTES_OWNER_GNU "GNU"
enum { NOTES_GO_BUILD_ID = 4 };

/* The note of @owner (4 bytes with its NUL) and @type: its bytes into @buf, their number returned;
 * 0: there is none, or it has more than @size bytes. @align: 4, or p_align 8 of a PT_NOTE. */
size_t notes_find(const uint8_t *notes, uint64_t len, uint64_t align, const char owner[4],
                  uint32_t type, uint8_t *buf, size_t size);
