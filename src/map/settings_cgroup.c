/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "map/settings_internal.h"
#include "target/proc.h"

enum { MOST_LEVELS = 64, PATH_BYTES = 4096 };

/* Where a hierarchy is mounted on every distribution; elsewhere it is not found. */
struct place {
	const char *controller; /* of v1; "" for v2 */
	const char *mount;
};

static const struct place memory_places[] = {
	{ "memory", "/sys/fs/cgroup/memory" },
	{ "", "/sys/fs/cgroup" },
};
static const struct place cpu_places[] = {
	{ "cpu", "/sys/fs/cgroup/cpu" },
	{ "", "/sys/fs/cgroup" },
};

/* "4:memory:/a/b", "0::/a/b" (cgroups(7)): the path of @controller. */
static bool find_path(const char *text, const char *controller, char *buf, size_t size)
{
	size_t n = strlen(controller);

	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		const char *list = strchr(text, ':'), *path = list ? strchr(list + 1, ':') : NULL;

		if (!path)
			return false;
		for (list++; list < path; list += strcspn(list, ",:"), list += *list == ',') {
			if (n && strcspn(list, ",:") == n && !strncmp(list, controller, n))
				break;
		}
		if (n ? list >= path : path[-1] != ':')
			continue;
		snprintf(buf, size, "%.*s", (int)strcspn(path + 1, "\n"), path + 1);
		return true;
	}
	return false;
}

static bool read_words(const char *folder, const char *name, char *buf, size_t size)
{
	cleanup_free char *text = NULL;
	char path[PATH_BYTES + 64];
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (proc_read(AT_FDCWD, path, 4096, &text, &n) < 0)
		return false;
	snprintf(buf, size, "%.*s", (int)strcspn(text, "\n"), text);
	return true;
}

/* Call @look for the cgroup's folder and those above it, whose limits hold, too. */
static void each_level(const struct settings *s, const struct place *places, size_t n,
                       void (*look)(const char *folder, double *least), double *least)
{
	cleanup_free char *text = NULL;
	char path[PATH_BYTES], folder[2 * PATH_BYTES];
	struct error ignored;

	if (target_proc_file(s->t, "cgroup", 64 << 10, &text, NULL, &ignored) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t mount = strlen(places[i].mount);

		if (!find_path(text, places[i].controller, path, sizeof(path)) ||
		    strstr(path, "/.."))
			continue;
		snprintf(folder, sizeof(folder), "%s%s", places[i].mount, path);
		for (int level = 0; level < MOST_LEVELS; level++) {
			char *slash = strrchr(folder, '/');

			look(folder, least);
			if (!slash || (size_t)(slash - folder) < mount)
				break;
			*slash = '\0';
		}
	}
}

static void look_at_memory(const char *folder, double *least)
{
	static const char *const names[] = { "memory.max", "memory.limit_in_bytes" };
	char value[64], *end;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		double v;

		if (!read_words(folder, names[i], value, sizeof(value)))
			continue;
		v = strtod(value, &end);
		/* v1 writes "no limit" as the largest multiple of a page */
		if (end != value && v < 0x1p62 && (*least < 0 || v < *least))
			*least = v;
	}
}

static void look_at_cpus(const char *folder, double *least)
{
	char quota[64], period[64];
	double q = -1, p = -1;

	if (read_words(folder, "cpu.max", quota, sizeof(quota)))
		sscanf(quota, "%lf %lf", &q, &p);
	else if (read_words(folder, "cpu.cfs_quota_us", quota, sizeof(quota)) &&
	         read_words(folder, "cpu.cfs_period_us", period, sizeof(period)))
		q = strtod(quota, NULL), p = strtod(period, NULL);
	if (q > 0 && p > 0 && (*least < 0 || q / p < *least))
		*least = q / p;
}

int settings_cgroup_add(const struct settings *s, struct error *err)
{
	double memory = -1, cpus = -1;
	char value[64];
	int r;

	each_level(s, memory_places, ARRAY_SIZE(memory_places), look_at_memory, &memory);
	each_level(s, cpu_places, ARRAY_SIZE(cpu_places), look_at_cpus, &cpus);
	snprintf(value, sizeof(value), "%.0f kB", memory / 1024);
	r = settings_add(s, "cgroup memory limit", memory < 0 ? "none" : value, err);
	snprintf(value, sizeof(value), "%.2f", cpus);
	if (r == 0)
		r = settings_add(s, "cgroup cpu limit", cpus < 0 ? "none" : value, err);
	return r;
}
