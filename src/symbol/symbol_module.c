/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "symbol/debug_file.h"
#include "symbol/demangle.h"
#include "symbol/minidebug.h"
#include "symbol/object_known.h"
#include "symbol/symbol_internal.h"

static void module_freep(struct symbol_module **m)
{
	*m = symbol_module_free(*m);
}

int symbol_module_new(struct symbol_pool *pool, const char *path, struct elf_file *elf,
                      struct symbol_module **ret, struct error *err)
{
	cleanup(module_freep) struct symbol_module *m = calloc(1, sizeof(*m));

	if (!m) {
		elf_file_close(elf);
		return error_oom(err);
	}
	m->pool = pool;
	m->elf = elf;
	m->root_fd = -1;
	m->path = strdup(path);
	if (!m->path)
		return error_oom(err);
	*ret = take_ptr(m);
	return 0;
}

static void stop_worker(struct symbol_module *m)
{
	m->pool->n_workers -= m->inlines != NULL;
	m->inlines = inlines_close(m->inlines);
}

struct symbol_module *symbol_module_free(struct symbol_module *m)
{
	if (!m)
		return NULL;
	stop_worker(m);
	names_clear(&m->names);
	intern_clear(&m->strings);
	hash_map_clear(&m->by_vaddr);
	elf_file_close(m->mini);
	elf_file_close(m->debug);
	elf_file_close(m->elf);
	free(m->found.undecided);
	free(m->results);
	free(m->frames);
	free(m->path);
	free(m);
	return NULL;
}

const char *symbol_module_path(const struct symbol_module *m)
{
	return m->path;
}

/* Worth it where names are missing: of what a library was linked into. */
static bool lacks_names(const struct symbol_module *m)
{
	return !debug_file_has(m->elf, ".symtab") && m->path[0] != '[';
}

/* With its libc inside. A Go program has its own heap; its sections are many. */
static bool is_static(const struct symbol_module *m)
{
	return elf_file_is_program(m->elf) && !elf_file_interpreter(m->elf) &&
	       !debug_file_has(m->elf, ".go.buildinfo");
}

static int find_known(struct symbol_module *m, struct error *err)
{
	struct symbol_pool *p = m->pool;
	int r = p->known ? 0 : object_code_new(&p->known, err);

	if (r == 0 && !p->learned)
		r = object_known_add(p->known, err);
	p->learned = true;
	return r < 0 ? r : object_code_find(p->known, m->elf, &m->found, err);
}

static void find_by_code(struct symbol_module *m)
{
	struct error err;
	int r = 0;

	m->searched = true;
	if (!m->elf || !lacks_names(m))
		return;
	if (m->pool->given)
		r = object_code_find(m->pool->given, m->elf, &m->found, &err);
	if (r == 0 && !m->found.n_functions && is_static(m)) {
		free(m->found.undecided);
		m->found.undecided = NULL;
		r = find_known(m, &err);
	}
	if (r < 0)
		log_note(LOG_WARN, "%s: not searched for functions: %s", m->path, err.message);
}

struct elf_file *symbol_module_elf(struct symbol_module *m)
{
	if (!m->searched)
		find_by_code(m);
	return m->elf;
}

bool symbol_module_is_undecided(struct symbol_module *m, const char *name)
{
	symbol_module_elf(m);
	for (const char *at = m->found.undecided; at && *at; at += strlen(at) + 1)
		if (!strcmp(at, name))
			return true;
	return false;
}

const char *symbol_module_found(struct symbol_module *m, size_t *n_functions)
{
	symbol_module_elf(m);
	*n_functions = m->found.n_functions;
	return m->found.title;
}

/* What the file itself lacks; a stripped one is worth asking a server for. */
static void find_debug(struct symbol_module *m, bool stripped)
{
	const int roots[] = { m->root_fd, m->pool->own_root };

	if (debug_file_open(m->elf, m->path, roots, ARRAY_SIZE(roots), &m->debug) < 0 && stripped)
		fetch_debug(&m->pool->fetch, m->elf, m->path, &m->debug);
}

static int load_names(struct symbol_module *m, bool has_symtab, struct error *err)
{
	int r = names_add(&m->names, m->elf, ELF_DYNSYM, false, err);

	if (r == 0 && has_symtab)
		r = names_add(&m->names, m->elf, ELF_SYMTAB, true, err);
	if (r == 0)
		r = names_add(&m->names, symbol_module_elf(m), ELF_FOUND, false, err);
	if (r == 0 && m->debug)
		r = names_add(&m->names, m->debug, ELF_SYMTAB, true, err);
	if (r == 0 && !has_symtab && !m->debug && minidebug_open(m->elf, &m->mini) == 0)
		r = names_add(&m->names, m->mini, ELF_SYMTAB, false, err);
	return r < 0 ? r : names_finish(&m->names, err);
}

static void find_dwarf(struct symbol_module *m)
{
	struct elf_file *with = debug_file_has(m->elf, ".debug_info") ? m->elf : m->debug;

	if (!m->pool->options.no_inline && with && debug_file_has(with, ".debug_info"))
		m->dwarf = with;
}

/* The worker that was not asked for longest makes room; it starts again when
 * its module is asked. */
static void make_room(struct symbol_pool *p)
{
	struct symbol_module *oldest = NULL;

	if (p->n_workers < SYMBOL_MAX_WORKERS)
		return;
	for (size_t i = 0; i < p->n_items; i++) {
		struct symbol_module *m = p->items[i];

		if (m->inlines && (!oldest || m->asked < oldest->asked))
			oldest = m;
	}
	if (oldest)
		stop_worker(oldest);
}

static bool start_worker(struct symbol_module *m)
{
	struct error err;

	if (m->inlines || !m->dwarf)
		return m->inlines;
	make_room(m->pool);
	if (inlines_open(m->dwarf, &m->inlines, &err) < 0) {
		log_note(LOG_INFO, "%s: inlined functions are not shown: %s", m->path, err.message);
		m->dwarf = NULL;
		return false;
	}
	m->pool->n_workers++;
	return true;
}

static void load(struct symbol_module *m)
{
	bool has_symtab, has_dwarf;
	struct error err;

	if (m->loaded)
		return;
	m->loaded = true;
	if (!m->elf)
		return;
	has_symtab = debug_file_has(m->elf, ".symtab");
	has_dwarf = debug_file_has(m->elf, ".debug_info");
	if (!has_symtab || (!has_dwarf && !m->pool->options.no_inline))
		find_debug(m, !has_symtab);
	if (load_names(m, has_symtab, &err) < 0) {
		log_note(LOG_WARN, "%s: no names: %s", m->path, err.message);
		names_clear(&m->names);
	}
	find_dwarf(m);
}

/* Kept, demangled copy; NULL in, NULL out. */
static const char *demangled(struct symbol_module *m, const char *symbol)
{
	cleanup_free char *name = symbol ? demangle_name(symbol) : NULL;

	return name && *name ? intern_put(&m->strings, name, strlen(name)) : NULL;
}

static const char *kept(struct symbol_module *m, const char *s)
{
	return s && *s ? intern_put(&m->strings, s, strlen(s)) : NULL;
}

/* The functions that were inlined at @vaddr; 0 when DWARF does not know. */
static size_t ask_inlines(struct symbol_module *m, uint64_t vaddr, struct symbol_frame *frames)
{
	struct inlines_frame found[SYMBOL_MAX_INLINED];
	int n;

	if (!start_worker(m))
		return 0;
	m->asked = ++m->pool->n_asked;
	n = inlines_find(m->inlines, vaddr, found, SYMBOL_MAX_INLINED);
	if (n < 0) {
		log_note(LOG_WARN,
		         "%s: its debug information can't be read; from here on its inlined "
		         "functions are not shown",
		         m->path);
		stop_worker(m);
		m->dwarf = NULL;
		return 0;
	}
	for (int i = 0; i < n; i++) {
		frames[i] = (struct symbol_frame){
			.name = demangled(m, found[i].name),
			.file = kept(m, found[i].file),
			.line = found[i].line,
			.inlined = found[i].inlined,
		};
	}
	return n;
}

static size_t look_up(struct symbol_module *m, uint64_t vaddr, struct symbol_frame *frames)
{
	const struct span *symbol;
	const char *name;
	size_t n;

	load(m);
	symbol = names_find(&m->names, vaddr);
	name = symbol ? demangled(m, symbol->name) : NULL;
	n = ask_inlines(m, vaddr, frames);
	if (!n) {
		frames[0] = (struct symbol_frame){ .name = name };
		n = 1;
	}
	/* the function that is there in code has the linker's name */
	if (name && !frames[n - 1].inlined) {
		frames[n - 1].name = name;
		frames[n - 1].start = symbol->start;
		frames[n - 1].size = symbol->end - symbol->start;
	}
	return n;
}

static int remember(struct symbol_module *m, uint64_t vaddr, const struct symbol_frame *frames,
                    size_t n)
{
	struct error err;

	if (array_reserve(&m->frames, &m->cap_frames, m->n_frames + n, &err) < 0 ||
	    array_reserve(&m->results, &m->cap_results, m->n_results + 1, &err) < 0 ||
	    hash_map_put(&m->by_vaddr, vaddr, m->n_results, &err) < 0)
		return err.code;
	memcpy(m->frames + m->n_frames, frames, n * sizeof(*frames));
	m->results[m->n_results++] = (struct symbol_result){ m->n_frames, n };
	m->n_frames += n;
	return 0;
}

static size_t copy_frames(const struct symbol_frame *from, size_t n, struct symbol_frame *to,
                          size_t max)
{
	if (n > max)
		n = max;
	memcpy(to, from, n * sizeof(*to));
	return n;
}

size_t symbol_module_frames(struct symbol_module *m, uint64_t vaddr, struct symbol_frame *frames,
                            size_t max)
{
	const uint64_t *known = hash_map_get(&m->by_vaddr, vaddr);
	struct symbol_frame found[SYMBOL_MAX_INLINED];
	size_t n;

	if (known) {
		const struct symbol_result *r = &m->results[*known];

		return copy_frames(m->frames + r->first, r->n, frames, max);
	}
	n = look_up(m, vaddr, found);
	remember(m, vaddr, found, n); /* without memory it is looked up again */
	return copy_frames(found, n, frames, max);
}
