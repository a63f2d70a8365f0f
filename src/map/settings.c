/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/settings.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "map/settings_internal.h"
#include "target/proc.h"

enum { ENVIRON_MOST = 4 << 20, TEXT_MOST = 64 << 10, VALUE_BYTES = 1024, MOST_VARIABLES = 64 };

int settings_add(const struct settings *s, const char *key, const char *value, struct error *err)
{
	static const char *const columns[] = { "key", "value" };
	const struct report_figure cells[] = {
		report_cell_text(key),
		report_cell_text(value),
	};
	struct report_table *table;
	int r = report_table(s->to, "settings", columns, ARRAY_SIZE(columns), &table, err);

	return r < 0 ? r : report_row(table, cells, err);
}

/* NULL: can't be read. */
static char *target_file(const struct settings *s, const char *name, size_t most, size_t *len)
{
	struct error ignored;
	char *text = NULL;

	return target_proc_file(s->t, name, most, &text, len, &ignored) < 0 ? NULL : text;
}

/* First line of a file of the machine. */
static bool machine_line(const char *path, char *buf, size_t size)
{
	cleanup_free char *text = NULL;
	size_t n;

	if (proc_read(AT_FDCWD, path, TEXT_MOST, &text, &n) < 0)
		return false;
	snprintf(buf, size, "%.*s", (int)strcspn(text, "\n"), text);
	return true;
}

/* ---- environment */

static bool is_telling(const char *name, size_t n)
{
	static const char *const prefixes[] = { "MALLOC_", "TCMALLOC_", "MIMALLOC_" };
	static const char *const names[] = {
		"GLIBC_TUNABLES", "GODEBUG",      "GOMEMLIMIT",        "GOGC",
		"LD_PRELOAD",     "PYTHONMALLOC", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS",
		"NODE_OPTIONS",
	};
	static const char conf[] = "MALLOC_CONF"; /* with any prefix of jemalloc's */
	size_t m = strlen(conf);

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		if (n > strlen(prefixes[i]) && !strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (n == strlen(names[i]) && !strncmp(name, names[i], n))
			return true;
	}
	return n >= m && n < 64 && !strncmp(name + n - m, conf, m);
}

static int add_variable(const struct settings *s, const char *text, size_t n, struct error *err)
{
	char key[96], value[VALUE_BYTES];

	snprintf(key, sizeof(key), "env %.*s", n < 80 ? (int)n : 80, text);
	snprintf(value, sizeof(value), "%s", text + n + 1);
	return settings_add(s, key, value, err);
}

static int add_environment(const struct settings *s, struct error *err)
{
	size_t len = 0, n_found = 0;
	cleanup_free char *text = target_file(s, "environ", ENVIRON_MOST, &len);
	int r = 0;

	for (size_t at = 0; text && r == 0 && at < len; at += strlen(text + at) + 1) {
		size_t n = strcspn(text + at, "=");

		if (text[at + n] == '=' && is_telling(text + at, n) && n_found++ < MOST_VARIABLES)
			r = add_variable(s, text + at, n, err);
	}
	return r;
}

/* ---- limits */

/* The soft limit of a line of /proc/PID/limits, in kB as ulimit has it. */
static bool limit_of(const char *text, const char *title, char *buf, size_t size)
{
	const char *line = strstr(text, title);
	unsigned long long v;

	if (!line)
		return false;
	line += strlen(title);
	line += strspn(line, " ");
	if (!strncmp(line, "unlimited", 9))
		snprintf(buf, size, "unlimited");
	else if (sscanf(line, "%llu", &v) == 1)
		snprintf(buf, size, "%llu kB", v / 1024);
	else
		return false;
	return true;
}

static int add_limits(const struct settings *s, struct error *err)
{
	static const struct {
		const char *key, *title;
	} limits[] = {
		{ "rlimit stack", "Max stack size" },
		{ "rlimit as", "Max address space" },
		{ "rlimit data", "Max data size" },
		{ "rlimit memlock", "Max locked memory" },
	};
	cleanup_free char *text = target_file(s, "limits", TEXT_MOST, NULL);
	char value[64];
	int r = 0;

	for (size_t i = 0; text && r == 0 && i < ARRAY_SIZE(limits); i++) {
		if (limit_of(text, limits[i].title, value, sizeof(value)))
			r = settings_add(s, limits[i].key, value, err);
	}
	return r;
}

/* ---- machine */

/* "always [madvise] never" -> "madvise" */
static bool chosen(const char *path, char *buf, size_t size)
{
	char line[256], *from, *to;

	if (!machine_line(path, line, sizeof(line)))
		return false;
	from = strchr(line, '[');
	to = from ? strchr(from, ']') : NULL;
	if (!to)
		return false;
	snprintf(buf, size, "%.*s", (int)(to - from - 1), from + 1);
	return true;
}

/* How many cpus a list like "0-3,8" names. */
static unsigned count_cpus(const char *list)
{
	unsigned n = 0, from, to;
	int used;

	while (sscanf(list, "%u%n", &from, &used) == 1) {
		list += used;
		to = from;
		if (*list == '-' && sscanf(list, "-%u%n", &to, &used) == 1)
			list += used;
		n += to >= from && to - from < 1U << 20 ? to - from + 1 : 0;
		if (*list != ',')
			break;
		list++;
	}
	return n;
}

static int add_status(const struct settings *s, struct error *err)
{
	cleanup_free char *text = target_file(s, "status", TEXT_MOST, NULL);
	const char *cpus = text ? proc_status_line(text, "Cpus_allowed_list") : NULL;
	const char *thp = text ? proc_status_line(text, "THP_enabled") : NULL;
	char value[32];
	int r = 0;

	if (cpus) {
		snprintf(value, sizeof(value), "%u", count_cpus(cpus));
		r = settings_add(s, "cpus allowed", value, err);
	}
	if (r == 0 && thp && *thp == '0')
		r = settings_add(s, "huge pages of the process", "disabled by prctl", err);
	return r;
}

static int add_machine(const struct settings *s, struct error *err)
{
	char value[256];
	struct utsname name;
	int r = 0;

	if (chosen("/sys/kernel/mm/transparent_hugepage/enabled", value, sizeof(value)))
		r = settings_add(s, "huge pages", value, err);
	if (r == 0 && machine_line("/proc/sys/vm/overcommit_memory", value, sizeof(value)))
		r = settings_add(s, "overcommit", value, err);
	if (r == 0 && uname(&name) == 0)
		r = settings_add(s, "kernel", name.release, err);
	return r;
}

int settings_collect(const struct target *t, struct report *to, struct error *err)
{
	static int (*const parts[])(const struct settings *, struct error *) = {
		add_environment, add_limits,        settings_cgroup_add,
		add_machine,     settings_libc_add, add_status,
	};
	const struct settings s = { t, to };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++)
		r = parts[i](&s, err);
	return r;
}
