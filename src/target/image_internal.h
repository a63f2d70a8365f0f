/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the parts of the image reader share; nobody else includes it. */

#include "target/image.h"
#include "target/maps.h"

enum { IMAGE_CHUNK = 32 * 1024, IMAGE_PAGE = 4096 };

/* Bytes of a segment that are copied when they are first asked for. */
struct image_copy {
	uint8_t *bytes; /* the segment's size of addresses; NULL: nothing asked for yet */
	uint8_t *state; /* one for each chunk: enum image_chunk */
	int fd;         /* the file behind the segment; -1: none, or not to be had */
	bool file_tried;
};
enum image_chunk { IMAGE_UNREAD, IMAGE_READ, IMAGE_ABSENT };

struct image {
	enum image_kind kind;
	char *name;
	struct image_segment *segments;
	struct image_copy *copies; /* of each segment */
	size_t n_segments, cap_segments;
	size_t last; /* segment that was found last */
	struct image_thread *threads;
	size_t n_threads, cap_threads;
	pid_t pid;
	char comm[64];
	int signal;
	uint64_t missing, copied;

	/* a core */
	const uint8_t *core;
	uint64_t core_bytes;
	char *paths; /* of NT_FILE, NUL-terminated strings */
	uint64_t auxv_entry, auxv_phdr, auxv_phnum;
	const char *sysroot;

	/* a process */
	const struct target *target;
	struct maps maps;

	struct image_file {
		const char *path;
		bool is_proven; /* by build-id */
		struct elf_file *elf;
		uint64_t bias;
	} * files; /* owned */
	size_t n_files, cap_files;

	struct elf_file *exe;
	uint64_t exe_bias;
	bool exe_is_proven; /* by build-id */
	char *exe_path;     /* as given, or NULL */
};

/* Fill an image from the mapped bytes of a core. */
int image_core_read(struct image *i, struct error *err);
/* Notes of [@offset, @offset + @bytes) of the core. */
int image_notes_read(struct image *i, uint64_t offset, uint64_t bytes, struct error *err);
/* Open the program of a core, and check that it is the one. */
int image_exe_open(struct image *i, struct error *err);
/* The file of a core's @path: an fd. */
int image_exe_open_path(const struct image *i, const char *path, struct error *err);
/* Is @f what the core has at @bias, by build-ids: 1 the very file, 0 it cannot be told, -1 not. */
int image_exe_is_library(const struct image *i, const struct elf_file *f, uint64_t bias);
/* An fd with the unpacked bytes of @fd if it is compressed (@fd is closed then), else @fd itself.
 * -1 and *err on failure; @fd is closed then, too. */
int image_unpack(int fd, const char *name, struct error *err);
