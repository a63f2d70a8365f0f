/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/nearest.h"
#include "serve/config_keys.h"
#include "serve/listen.h"
#include "target/proc.h"

enum { MAX_FILE_BYTES = 4 << 20, MAX_KEYS = 32 };

/* ---- ownership ---- */

static void list_clear(struct config_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->items[i]);
	free(l->items);
}

static void target_clear(struct config_target *t)
{
	free(t->spec);
	free(t->exe);
}

static void trigger_clear(struct config_trigger *t)
{
	list_clear(&t->targets);
	free(t->rule);
	free(t->capture);
}

static void push_clear(struct config_push *p)
{
	free(p->kind);
	free(p->url);
	free(p->tenant);
	free(p->user);
	free(p->password_file);
	free(p->token_file);
	free(p->ca_file);
	list_clear(&p->labels);
}

void config_clear(struct config *c)
{
	for (size_t i = 0; i < c->n_targets; i++)
		target_clear(&c->targets[i]);
	for (size_t i = 0; i < c->n_triggers; i++)
		trigger_clear(&c->triggers[i]);
	for (size_t i = 0; i < c->n_pushes; i++)
		push_clear(&c->pushes[i]);
	free(c->targets);
	free(c->triggers);
	free(c->pushes);
	free(c->path);
	free(c->listen);
	free(c->group);
	free(c->spool);
	free(c->token_file);
	free(c->tls_cert);
	free(c->tls_key);
	free(c->tls_client_ca);
	list_clear(&c->hosts);
	list_clear(&c->allow_comm);
	list_clear(&c->allow_uid);
	list_clear(&c->allow_cgroup);
	*c = (struct config){ 0 };
}

/* ---- sections ---- */

struct parser {
	struct config *c;
	const char *text, *end; /* what is left to read */
	unsigned line;
	bool in_section;
	enum config_section section;
	const struct config_key *seen[MAX_KEYS]; /* in this section */
	size_t n_seen;
	bool failed;
	struct error *err; /* of the first mistake */
};

static void fail_at(struct parser *p, unsigned line)
{
	error_context(p->err, "%s:%u", p->c->path, line);
	p->failed = true;
}

/* The item of the section that is being read. */
static void *section_item(struct parser *p)
{
	struct config *c = p->c;

	switch (p->section) {
	case CONFIG_TARGET: return &c->targets[c->n_targets - 1];
	case CONFIG_TRIGGER: return &c->triggers[c->n_triggers - 1];
	case CONFIG_PUSH: return &c->pushes[c->n_pushes - 1];
	default: return c;
	}
}

static int check_name(const char *name, size_t len, struct error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t digits = strspn(name, "0123456789");

	if (!len || len >= CONFIG_NAME_BYTES)
		return error_set(err, EINVAL, "a name has 1 to %d characters",
		                 CONFIG_NAME_BYTES - 1);
	/* it stands in URLs, and becomes the name of a folder */
	if (strspn(name, allowed) < len || name[0] == '.')
		return error_set(err, EINVAL,
		                 "name \"%.*s\": only letters, digits and _ . - (no . in front)",
		                 (int)len, name);
	if (digits >= len)
		return error_set(err, EINVAL, "name \"%.*s\": only digits would be a process id",
		                 (int)len, name);
	return 0;
}

/* Names are the first field of each section's struct. */
static bool is_name_taken(const char *items, size_t n, size_t item_bytes, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(items + i * item_bytes, name))
			return true;
	}
	return false;
}

#define ADD(p, items, n, cap, name, defaults)                                                      \
	({                                                                                         \
		int r_ = 0;                                                                        \
		if (is_name_taken((char *)(p)->c->items, (p)->c->n, sizeof(*(p)->c->items), name)) \
			r_ = error_set((p)->err, EINVAL, "there is a section \"%s\" already",      \
			               name);                                                      \
		else if ((p)->c->n == CONFIG_MAX_SECTIONS)                                         \
			r_ = error_set((p)->err, E2BIG, "more than %d sections",                   \
			               CONFIG_MAX_SECTIONS);                                       \
		else                                                                               \
			r_ = array_reserve(&(p)->c->items, &(p)->c->cap, (p)->c->n + 1, (p)->err); \
		if (r_ == 0) {                                                                     \
			__auto_type item_ = &(p)->c->items[(p)->c->n++];                           \
			*item_ = defaults;                                                         \
			item_->line = (p)->line;                                                   \
			memcpy(item_->name, name, strlen(name) + 1);                               \
		}                                                                                  \
		r_;                                                                                \
	})

static int add_item(struct parser *p, const char *name)
{
	const struct config_trigger trigger = { .cooldown_s = 600, .per_day = 24, .warmup_s = 10 };
	const struct config_push push = { .queue_bytes = 64 << 20 };

	if (p->section == CONFIG_TARGET)
		return ADD(p, targets, n_targets, cap_targets, name, (struct config_target){ 0 });
	if (p->section == CONFIG_TRIGGER)
		return ADD(p, triggers, n_triggers, cap_triggers, name, trigger);
	return ADD(p, pushes, n_pushes, cap_pushes, name, push);
}

static int find_section(const char *word, size_t len, enum config_section *ret, struct error *err)
{
	char typed[CONFIG_NAME_BYTES];
	struct nearest near;

	snprintf(typed, sizeof(typed), "%.*s", (int)len, word);
	near = nearest_to(typed);
	for (int s = 0; s < CONFIG_N_SECTIONS; s++) {
		if (!strcmp(config_keys_section(s), typed)) {
			*ret = s;
			return 0;
		}
		nearest_offer(&near, config_keys_section(s));
	}
	error_set(err, EINVAL, "no section [%s]", typed);
	if (near.name)
		error_hint(err, "did you mean [%s]?", near.name);
	return -EINVAL;
}

/* @line is `[serve]` or `[target "api"]`, with what may follow. */
static int begin_section(struct parser *p, const char *line)
{
	size_t word = strcspn(line + 1, " \t\"]\n");
	const char *rest = line + 1 + word;
	char name[CONFIG_NAME_BYTES];
	size_t len;
	int r = find_section(line + 1, word, &p->section, p->err);

	if (r < 0)
		return r;
	p->n_seen = 0;
	p->in_section = true;
	rest += strspn(rest, " \t");
	if (p->section == CONFIG_SERVE) {
		if (*rest != ']')
			return error_set(p->err, EINVAL, "[serve] has no name");
		if (p->c->line)
			return error_set(p->err, EINVAL, "[serve] is there already, in line %u",
			                 p->c->line);
		p->c->line = p->line;
		return 0;
	}
	len = *rest == '"' ? strcspn(rest + 1, "\"\n") : 0;
	if (*rest != '"' || rest[1 + len] != '"' || rest[2 + len] != ']')
		return error_set(p->err, EINVAL, "a section looks like [%s \"NAME\"]",
		                 config_keys_section(p->section));
	r = check_name(rest + 1, len, p->err);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%.*s", (int)len, rest + 1);
	return add_item(p, name);
}

/* ---- lines ---- */

/* inih's reader: the next line into @to. inih tells no line numbers and no
 * sections without keys, so both are looked at here. NULL ends the reading. */
static char *next_line(char *to, int size, void *arg)
{
	struct parser *p = arg;
	const char *end = p->text < p->end ? memchr(p->text, '\n', p->end - p->text) : NULL;
	size_t len = (end ? end + 1 : p->end) - p->text;

	if (!len || p->failed)
		return NULL;
	p->line++;
	while (len && (*p->text == ' ' || *p->text == '\t')) { /* inih: a second value */
		p->text++;
		len--;
	}
	if (len >= (size_t)size) {
		error_set(p->err, EINVAL, "longer than %d characters", size - 2);
		fail_at(p, p->line);
		return NULL;
	}
	memcpy(to, p->text, len);
	to[len] = '\0';
	p->text += len;
	if (*to == '[' && begin_section(p, to) < 0) {
		fail_at(p, p->line);
		return NULL;
	}
	return to;
}

static int take_value(struct parser *p, const char *name, const char *value)
{
	const struct config_key *key;

	if (!p->in_section)
		return error_set(p->err, EINVAL, "%.40s stands before the first section", name);
	key = config_keys_find(p->section, name, p->err);
	if (!key)
		return -EINVAL;
	for (size_t i = 0; i < p->n_seen; i++) {
		if (p->seen[i] == key)
			return error_set(p->err, EINVAL, "%s is there twice", name);
	}
	if (p->n_seen < MAX_KEYS)
		p->seen[p->n_seen++] = key;
	return key->parse((char *)section_item(p) + key->offset, value, key, p->err);
}

static int on_value(void *arg, const char *section, const char *name, const char *value)
{
	struct parser *p = arg;

	(void)section; /* cut by inih; begin_section() has it whole */
	if (!p->failed && take_value(p, name, value ? value : "") < 0)
		fail_at(p, p->line);
	return !p->failed;
}

/* ---- the whole ---- */

static int set_default(char **field, const char *value, struct error *err)
{
	if (!*field)
		*field = strdup(value);
	return *field ? 0 : error_oom(err);
}

static int check_targets(struct config *c, unsigned *line, struct error *err)
{
	for (size_t i = 0; i < c->n_targets; i++) {
		const struct config_target *t = &c->targets[i];

		*line = t->line;
		if (!t->spec == !t->exe)
			return error_set(err, EINVAL,
			                 "target \"%s\" needs one of pid, cgroup and exe", t->name);
	}
	return 0;
}

static int check_trigger(struct config *c, struct config_trigger *t, struct error *err)
{
	if (!t->rule)
		return error_set(err, EINVAL, "trigger \"%s\" has no rule", t->name);
	for (size_t i = 0; i < t->targets.n; i++) {
		struct nearest near = nearest_to(t->targets.items[i]);

		if (config_find_target(c, t->targets.items[i]))
			continue;
		for (size_t j = 0; j < c->n_targets; j++)
			nearest_offer(&near, c->targets[j].name);
		error_set(err, EINVAL, "trigger \"%s\": there is no [target \"%.64s\"]", t->name,
		          t->targets.items[i]);
		if (near.name)
			error_hint(err, "did you mean %s?", near.name);
		return -EINVAL;
	}
	return set_default(&t->capture, "auto", err);
}

static int check_push(const struct config_push *p, struct error *err)
{
	if (!p->kind || !p->url)
		return error_set(err, EINVAL, "push \"%s\" has no %s", p->name,
		                 p->kind ? "url" : "kind");
	if (!p->user != !p->password_file)
		return error_set(err, EINVAL, "push \"%s\": user and password_file go together",
		                 p->name);
	if (p->user && p->token_file)
		return error_set(err, EINVAL, "push \"%s\": user or token_file, not both", p->name);
	for (size_t i = 0; i < p->labels.n; i++) {
		const char *equals = strchr(p->labels.items[i], '=');

		if (!equals || equals == p->labels.items[i])
			return error_set(err, EINVAL, "push \"%s\": label '%.64s' is not KEY=VALUE",
			                 p->name, p->labels.items[i]);
	}
	return 0;
}

/* Who may reach us: nobody from outside without a token or a certificate. */
static int check_access(const struct config *c, struct error *err)
{
	struct listen_address a;
	int n = !!c->tls_cert + !!c->tls_key + !!c->tls_client_ca;
	int r = listen_parse(c->listen, &a, err);

	if (r < 0)
		return r;
	if (n && n < 3)
		return error_set(err, EINVAL, "tls_cert, tls_key and tls_client_ca go together");
	if (n && a.is_unix)
		return error_set(err, EINVAL, "a Unix socket has no TLS");
	if (!a.is_unix && !listen_is_loopback(&a) && !c->token_file && !n) {
		error_set(err, EINVAL, "listen = %s is reached from other machines", c->listen);
		return error_hint(err, "set token_file or tls_cert, tls_key and tls_client_ca, or "
		                       "listen on 127.0.0.1");
	}
	for (size_t i = 0; i < c->allow_uid.n; i++) {
		const char *uid = c->allow_uid.items[i];

		if (strlen(uid) > 10 || uid[strspn(uid, "0123456789")])
			return error_set(err, EINVAL, "allow_uid: %.20s is not a number", uid);
	}
	return 0;
}

static int check(struct config *c, unsigned *line, struct error *err)
{
	int r;

	if (!c->line) {
		*line = 1;
		return error_set(err, EINVAL, "there is no section [serve]");
	}
	*line = c->line;
	r = check_access(c, err);
	if (r == 0)
		r = check_targets(c, line, err);
	for (size_t i = 0; r == 0 && i < c->n_triggers; i++) {
		*line = c->triggers[i].line;
		r = check_trigger(c, &c->triggers[i], err);
	}
	for (size_t i = 0; r == 0 && i < c->n_pushes; i++) {
		*line = c->pushes[i].line;
		r = check_push(&c->pushes[i], err);
	}
	return r;
}

static int parse_lines(struct parser *p)
{
	int r = ini_parse_stream(next_line, p, on_value, p);

	if (!p->failed && r < 0)
		return error_oom(p->err);
	/* what inih itself does not take: no "=", an unclosed "[" */
	if (!p->failed && r > 0) {
		error_set(p->err, EINVAL, "neither `key = value` nor a section");
		fail_at(p, (unsigned)r);
	}
	return p->failed ? p->err->code : 0;
}

static const struct config defaults = {
	.max_seconds = 60,
	.slots = 2,
	.connections = 1024,
	.connections_per_address = 256,
	.timeout_s = 15,
	.budget = 0.02,
	.spool_bytes = 1ull << 30,
	.spool_free_percent = 5,
};

int config_parse(const char *path, const char *text, size_t len, struct config *ret,
                 struct error *err)
{
	static const char bom[] = "\xef\xbb\xbf";
	cleanup(config_clear) struct config c = defaults;
	struct parser p = { .c = &c, .text = text, .end = text + len, .err = err };
	unsigned line = 1;
	int r = set_default(&c.path, path, err);

	if (r < 0)
		return r;
	if (len && memchr(text, '\0', len))
		return error_set(err, EINVAL, "%s:1: a zero byte: this is no text", path);
	if (len >= 3 && !memcmp(text, bom, 3))
		p.text += 3;
	r = parse_lines(&p);
	if (r == 0)
		r = set_default(&c.listen, "unix:/run/memwho/memwho.sock", err);
	if (r == 0 && check(&c, &line, err) < 0)
		r = error_context(err, "%s:%u", path, line);
	if (r < 0)
		return err->hint[0] ? r : error_hint(err, "docs/serve.md has all keys");
	*ret = c;
	c = (struct config){ 0 };
	return 0;
}

int config_read(const char *path, struct config *ret, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	int r = proc_read(AT_FDCWD, path, MAX_FILE_BYTES, &text, &len);

	if (r < 0)
		return error_sys(err, -r, "cannot read %s", path);
	return config_parse(path, text, len, ret, err);
}

const struct config_target *config_find_target(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->n_targets; i++) {
		if (!strcmp(c->targets[i].name, name))
			return &c->targets[i];
	}
	return NULL;
}
