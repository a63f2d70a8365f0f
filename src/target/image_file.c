/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that an image has mapped, other than the program. */
#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "target/image_internal.h"

static int open_mapped(const struct image *i, const struct image_segment *s, struct error *err)
{
	int fd = -1, r;

	if (i->kind == IMAGE_CORE)
		return image_exe_open_path(i, s->path, err);
	for (size_t k = 0; k < i->maps.n_items; k++) {
		if (i->maps.items[k].start != s->start)
			continue;
		r = maps_open_file(i->target, &i->maps.items[k], &fd, err);
		return r < 0 ? r : fd;
	}
	return error_set(err, ENOENT, "%s is not mapped", s->path);
}

static int check_file(const struct image *i, struct image_file *f, struct error *err)
{
	int same = i->kind == IMAGE_CORE ? image_exe_is_library(i, f->elf, f->bias) : 1;

	f->is_proven = same > 0;
	return same < 0 ? error_set(err, EMEDIUMTYPE, "%s is another one now", f->path) : 0;
}

struct elf_file *image_file(struct image *i, uint64_t addr, uint64_t *bias, struct error *err)
{
	const struct image_segment *s = image_find(i, addr);
	struct image_file f = { .path = s ? s->path : "" };
	int r;

	if (!s || s->path[0] != '/') {
		error_set(err, ENOENT, "no file is mapped at 0x%llx", (unsigned long long)addr);
		return NULL;
	}
	for (size_t k = 0; k < i->n_files; k++) {
		if (!strcmp(i->files[k].path, s->path)) {
			*bias = i->files[k].bias;
			return i->files[k].elf;
		}
	}
	r = open_mapped(i, s, err);
	if (r >= 0)
		r = elf_file_open(r, s->path, &f.elf, err);
	if (r == 0 && !elf_file_bias(f.elf, s->start, s->file_offset, &f.bias))
		r = error_set(err, EBADMSG, "%s is not what is mapped", s->path);
	if (r == 0)
		r = check_file(i, &f, err);
	if (r == 0)
		r = array_reserve(&i->files, &i->cap_files, i->n_files + 1, err);
	if (r < 0) {
		elf_file_close(f.elf);
		return NULL;
	}
	i->files[i->n_files++] = f;
	*bias = f.bias;
	return f.elf;
}
