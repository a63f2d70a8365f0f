/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "symbol/symbol_internal.h"
#include "symbol/vdso.h"

static const char vdso_name[] = "[vdso]";

/* The given libraries: whoever gives one wants to know at once what is wrong with it. */
static int learn(struct symbol_pool *p, struct error *err)
{
	const char *const *archives = p->options.archives;
	int r = archives[0] ? object_code_new(&p->given, err) : 0;

	for (size_t i = 0; r == 0 && i < SYMBOL_MAX_ARCHIVES && archives[i]; i++)
		r = object_code_add_file(p->given, archives[i], err);
	return r < 0 ? error_context(err, "--archive") : 0;
}

int symbol_pool_new(const struct symbol_options *options, struct symbol_pool **ret,
                    struct error *err)
{
	cleanup(symbol_pool_freep) struct symbol_pool *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return error_oom(err);
	p->options = options ? *options : (struct symbol_options){ 0 };
	p->fetch = fetch_start(p->options.no_debuginfod);
	p->own_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = learn(p, err);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 0;
}

struct symbol_pool *symbol_pool_free(struct symbol_pool *p)
{
	if (!p)
		return NULL;
	for (size_t i = 0; i < p->n_items; i++)
		symbol_module_free(p->items[i]);
	for (size_t i = 0; i < p->n_roots; i++)
		close(p->roots[i].fd);
	if (p->own_root >= 0)
		close(p->own_root);
	fetch_stop(&p->fetch);
	object_code_free(p->given);
	object_code_free(p->known);
	free(p->items);
	free(p->roots);
	free(p);
	return NULL;
}

void symbol_pool_freep(struct symbol_pool **p)
{
	*p = symbol_pool_free(*p);
}

/* The target's root, held open so that debug files can be looked for after its
 * end; -1 when it is our own. */
static int root_of(struct symbol_pool *p, const struct target *t)
{
	cleanup_close int fd = openat(t->proc_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st, own;
	struct error ignored;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	if (t->same_mount_ns && fstat(p->own_root, &own) == 0 && own.st_dev == st.st_dev &&
	    own.st_ino == st.st_ino)
		return -1;
	for (size_t i = 0; i < p->n_roots; i++) {
		if (p->roots[i].dev == st.st_dev && p->roots[i].inode == st.st_ino)
			return p->roots[i].fd;
	}
	if (array_reserve(&p->roots, &p->cap_roots, p->n_roots + 1, &ignored) < 0)
		return -1;
	p->roots[p->n_roots] = (struct symbol_root){ st.st_dev, st.st_ino, fd };
	fd = -1;
	return p->roots[p->n_roots++].fd;
}

/*
 * A module holds its file open, so its device and inode can't become another
 * file's: equal means the same file, and the build-id need not be read again.
 * What could not be opened is known by its path too.
 */
static struct symbol_module *find(const struct symbol_pool *p, const struct mapping *m)
{
	for (size_t i = p->n_items; i-- > 0;) {
		struct symbol_module *have = p->items[i];

		if (have->inode == m->inode && have->dev_major == m->dev_major &&
		    have->dev_minor == m->dev_minor && (m->inode || !strcmp(have->path, m->name)) &&
		    (have->elf || !strcmp(have->path, m->name)))
			return have;
	}
	return NULL;
}

static int open_elf(const struct target *t, const struct mapping *m, struct elf_file **ret,
                    struct error *err)
{
	int fd, r;

	if (!strcmp(m->name, vdso_name))
		return vdso_open(t, m, ret, err);
	r = maps_open_file(t, m, &fd, err);
	return r < 0 ? r : elf_file_open(fd, m->name, ret, err);
}

static int add(struct symbol_pool *p, const struct target *t, const struct mapping *m,
               struct elf_file *elf, struct symbol_module **ret, struct error *err)
{
	struct symbol_module *module;
	int r = array_reserve(&p->items, &p->cap_items, p->n_items + 1, err);

	if (r < 0) {
		elf_file_close(elf);
		return r;
	}
	r = symbol_module_new(p, m->name, elf, &module, err);
	if (r < 0)
		return r;
	module->root_fd = root_of(p, t);
	module->dev_major = m->dev_major;
	module->dev_minor = m->dev_minor;
	module->inode = m->inode;
	p->items[p->n_items++] = *ret = module;
	return 0;
}

int symbol_pool_module(struct symbol_pool *p, const struct target *t, const struct mapping *m,
                       struct symbol_module **ret, struct error *err)
{
	struct elf_file *elf = NULL;
	struct error why;
	int r;

	*ret = NULL;
	if (!m->inode && strcmp(m->name, vdso_name))
		return 0;
	*ret = find(p, m);
	if (*ret)
		return 0;
	r = open_elf(t, m, &elf, &why);
	if (r == -ENOEXEC || (r < 0 && m->name[0] != '/' && m->inode))
		return 0; /* a JIT's file or memfd: code, but no ELF */
	if (r == -ESRCH || r == -ENOMEM) {
		*err = why;
		return r;
	}
	if (r < 0) {
		log_note(LOG_WARN, "no names for %s: %s", m->name, why.message);
		if (why.hint[0])
			log_note(LOG_WARN, "hint: %s", why.hint);
	}
	return add(p, t, m, elf, ret, err);
}
