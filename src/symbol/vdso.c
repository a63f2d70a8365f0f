/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/vdso.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/proc.h"
#include "target/reader.h"

enum { VDSO_MAX = 1 << 20 };

/* Our own mapping at AT_SYSINFO_EHDR; all of it may be read. */
static int copy_own(void *buf, uint64_t size)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup_free char *text = NULL;
	uint64_t at = getauxval(AT_SYSINFO_EHDR);
	const struct mapping *own;
	struct error ignored;
	size_t len;

	if (!at || proc_read(AT_FDCWD, "/proc/self/maps", 1 << 28, &text, &len) < 0 ||
	    maps_parse(text, len, &maps, &ignored) < 0)
		return -ENOENT;
	own = maps_find(&maps, at);
	/* another size: another kernel's (a checkpoint that was restored) */
	if (!own || own->start != at || own->end - own->start != size)
		return -ENOENT;
	memcpy(buf, (const void *)(uintptr_t)at, size);
	return 0;
}

static int copy_from(const struct target *t, const struct mapping *m, void *buf)
{
	uint64_t size = m->end - m->start;
	int r = reader_try(t, m->start, buf, size);

	/* the same kernel's is the same: ours does where theirs cannot be read */
	return r == -ENODATA || r == -EACCES || r == -EPERM ? copy_own(buf, size) : r;
}

int vdso_open(const struct target *t, const struct mapping *m, struct elf_file **ret,
              struct error *err)
{
	uint64_t size = m->end - m->start;
	cleanup_close int fd = -1;
	cleanup_free void *buf = NULL;
	int r;

	if (size > VDSO_MAX)
		return error_set(err, EFBIG, "the vdso of process %d is too big", t->pid);
	buf = malloc(size);
	if (!buf)
		return error_oom(err);
	r = copy_from(t, m, buf);
	if (r < 0)
		return error_sys(err, -r, "the vdso of process %d", t->pid);
	fd = memfd_create("memwho-vdso", MFD_CLOEXEC);
	if (fd < 0 || write(fd, buf, size) != (ssize_t)size)
		return error_sys(err, errno, "a copy of the vdso");
	return elf_file_open(take_fd(fd), "[vdso]", ret, err);
}
