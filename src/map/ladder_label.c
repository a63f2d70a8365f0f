/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/path.h"
#include "map/ladder_internal.h"

/* What /proc/PID/maps alone tells of a mapping. */
struct label {
	const char *kind, *evidence;
	const char *path; /* "" = none */
	char name[REGIONS_NAME_BYTES];
	char detail[REGIONS_TEXT_BYTES];
	uint64_t identity; /* different ones are different parts */
};

enum { GUARD_BYTES = 64 << 10 };

static bool begins(const char *s, const char *start)
{
	return !strncmp(s, start, strlen(start));
}

bool ladder_label_is_counted(const struct mapping *m)
{
	return strcmp(m->name, "[vsyscall]") != 0;
}

bool ladder_label_is_no_access(const struct mapping *m)
{
	return !(m->prot & (MAPS_READ | MAPS_WRITE | MAPS_EXEC));
}

static void set(struct label *l, const char *kind, const char *name, const char *evidence)
{
	l->kind = kind;
	l->evidence = evidence;
	snprintf(l->name, sizeof(l->name), "%s", name);
}

/* Memory that only looks like a file: there is no disk behind it. */
static bool is_shared_memory(const struct ladder_work *w, const struct mapping *m)
{
	const char *n = m->name;

	return begins(n, "/memfd:") || (begins(n, "/SYSV") && m->deleted) ||
	       begins(n, "/dev/shm/") || begins(n, "/dev/hugepages/") ||
	       begins(n, "/anon_hugepage") || begins(n, "/[aio]") || begins(n, "anon_inode:") ||
	       begins(n, "socket:") || begins(n, "[anon_shmem:") ||
	       (!strcmp(n, "/dev/zero") && (m->prot & MAPS_SHARED)) || ladder_mounts_find(w, m);
}

bool ladder_label_is_solid_file(const struct ladder_work *w, const struct mapping *m)
{
	return m->inode && m->name[0] == '/' && !is_shared_memory(w, m) &&
	       strcmp(m->name, "/dev/zero") != 0 &&
	       ((m->prot & MAPS_SHARED) || !(m->prot & MAPS_WRITE));
}

static void shared(const struct ladder_work *w, const struct mapping *m, struct label *l)
{
	const struct ladder_mount *mount = ladder_mounts_find(w, m);
	const char *name = m->name[0] == '/' ? path_base(m->name) : m->name;

	set(l, REGIONS_SHARED, name, "the kernel's name for it in /proc/PID/maps");
	l->path = m->name;
	if (!strcmp(m->name, "/dev/zero"))
		set(l, REGIONS_SHARED, "shared anonymous", "shared /dev/zero in /proc/PID/maps");
	else if (begins(m->name, "/memfd:"))
		snprintf(l->name, sizeof(l->name), "%s", m->name + 1);
	else if (begins(m->name, "/anon_hugepage"))
		set(l, REGIONS_SHARED, "hugetlb pages", "/anon_hugepage in /proc/PID/maps");
	if (begins(m->name, "/SYSV")) {
		snprintf(l->detail, sizeof(l->detail), "System V segment, shmid %" PRIu64,
		         m->inode);
		l->identity = m->inode;
	} else if (mount || begins(m->name, "/dev/shm/")) {
		snprintf(l->detail, sizeof(l->detail), "%s%s",
		         mount && mount->is_huge ? "huge pages (hugetlbfs)" : "a file of tmpfs",
		         m->deleted ? ", deleted: lives until the last one unmaps it" : "");
		l->identity = m->inode;
	}
}

static void file(const struct mapping *m, struct label *l)
{
	set(l, REGIONS_FILE, path_base(m->name), "mapped file in /proc/PID/maps");
	l->path = m->name;
	l->identity = m->inode ^ (uint64_t)m->dev_major << 52 ^ (uint64_t)m->dev_minor << 32;
	if (m->deleted)
		snprintf(l->detail, sizeof(l->detail), "deleted or replaced since it was mapped");
}

static bool is_kernels(const char *name)
{
	return begins(name, "[vdso") || begins(name, "[vvar") || begins(name, "[uprobes]") ||
	       begins(name, "[vectors]") || begins(name, "[sigpage]");
}

/* Without a name, or with one that says little of who made it. */
static void anonymous(const struct mapping *m, struct label *l)
{
	bool no_access = ladder_label_is_no_access(m);

	if (begins(m->name, "[anon:"))
		set(l, REGIONS_OTHER_HEAP, m->name, "named by the program itself (prctl)");
	else if (no_access && m->end - m->start <= GUARD_BYTES)
		set(l, REGIONS_GUARD, "guard pages", "no access and at most 64 KiB");
	else if (no_access)
		set(l, REGIONS_UNNAMED, "no access (PROT_NONE)", "");
	else
		set(l, REGIONS_UNNAMED, "anonymous memory", "");
}

static void look(const struct ladder_work *w, const struct mapping *m, struct label *l)
{
	if (!strcmp(m->name, "[heap]"))
		set(l, REGIONS_OTHER_HEAP, "[heap]", "brk, in which no allocator was proven");
	else if (!strcmp(m->name, "[stack]"))
		set(l, REGIONS_MAIN_STACK, "main thread", "[stack] in /proc/PID/maps");
	else if (is_kernels(m->name))
		set(l, REGIONS_VDSO, m->name, "the kernel's name for it in /proc/PID/maps");
	else if (is_shared_memory(w, m))
		shared(w, m, l);
	else if (m->inode && strcmp(m->name, "/dev/zero") != 0)
		file(m, l);
	else if (m->name[0] == '[' && !begins(m->name, "[anon:"))
		set(l, REGIONS_OTHER_HEAP, m->name, "the kernel's name for it in /proc/PID/maps");
	else
		anonymous(m, l);
}

static uint64_t key_of(const struct label *l, bool deleted)
{
	uint64_t h = hash_bytes(l->kind, strlen(l->kind), l->identity + deleted);

	h = hash_bytes(l->name, strlen(l->name), h);
	return hash_bytes(l->path, strlen(l->path), h);
}

static bool is_same(const struct ladder_part *p, const struct label *l)
{
	return p->heap.kind == l->kind && !strcmp(p->heap.name, l->name) &&
	       !strcmp(p->heap.detail, l->detail) &&
	       !strncmp(p->path, l->path, sizeof(p->path) - 1);
}

int ladder_label_add(struct ladder_work *w, const char *kind, uint32_t *ret, struct error *err)
{
	struct ladder *l = &w->l;
	int r = array_reserve(&l->parts, &l->cap_parts, l->n_parts + 1, err);

	if (r < 0)
		return r;
	l->parts[l->n_parts] = (struct ladder_part){
		.heap = { .kind = kind, .in_use_bytes = -1, .cached_bytes = -1 },
	};
	*ret = (uint32_t)l->n_parts++;
	return 0;
}

static int add_label(struct ladder_work *w, const struct label *l, uint64_t key, uint32_t *ret,
                     struct error *err)
{
	struct ladder_part *p;
	uint32_t index;
	int r = ladder_label_add(w, l->kind, &index, err);

	if (r == 0)
		r = hash_map_add(&w->by_key, key, index, err);
	if (r < 0)
		return r;
	p = &w->l.parts[index];
	snprintf(p->heap.name, sizeof(p->heap.name), "%s", l->name);
	snprintf(p->heap.detail, sizeof(p->heap.detail), "%s", l->detail);
	snprintf(p->heap.evidence, sizeof(p->heap.evidence), "%s", l->evidence);
	snprintf(p->path, sizeof(p->path), "%s", l->path);
	*ret = index;
	return 0;
}

int ladder_label_mapping(struct ladder_work *w, const struct mapping *m, uint32_t *ret,
                         struct error *err)
{
	struct label l = { .path = "" };
	uint64_t key, *index;
	size_t pos = 0;

	look(w, m, &l);
	key = key_of(&l, m->deleted);
	while ((index = hash_map_next(&w->by_key, key, &pos))) {
		if (is_same(&w->l.parts[*index], &l)) {
			*ret = (uint32_t)*index;
			return 0;
		}
	}
	return add_label(w, &l, key, ret, err);
}
