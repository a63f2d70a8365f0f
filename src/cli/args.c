/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/nearest.h"

struct parser {
	struct cli_args *args;
	char **argv;
	int argc, at; /* argv[at] is the next word */
	struct error *err;
};

/* The option with this letter, or with the name that is @len bytes at @name. */
static const struct cli_option *find(const struct cli_command *command, char letter,
                                     const char *name, size_t len)
{
	for (const struct cli_option *const *t = command->option_tables; *t; t++) {
		for (const struct cli_option *o = *t; o->name || o->help; o++) {
			if (!o->name)
				continue;
			if (letter ? o->letter == letter
			           : strlen(o->name) == len && !memcmp(o->name, name, len))
				return o;
		}
	}
	return NULL;
}

static int add(struct parser *p, const struct cli_option *option, const char *value)
{
	p->args->options[p->args->n_options] = option;
	p->args->values[p->args->n_options++] = value;
	return 0;
}

static int unknown(struct parser *p, const char *name, size_t len)
{
	cleanup_free char *typed = strndup(name, len);
	const struct cli_command *c = p->args->command;
	struct nearest near;
	int r;

	if (!typed)
		return error_oom(p->err);
	near = nearest_to(typed);
	for (const struct cli_option *const *t = c->option_tables; *t; t++) {
		for (const struct cli_option *o = *t; o->name || o->help; o++) {
			if (o->name)
				nearest_offer(&near, o->name);
		}
	}
	r = error_set(p->err, EINVAL, "%s has no option --%s", c->name, typed);
	if (near.name)
		error_hint(p->err, "did you mean --%s? memwho %s --help lists all", near.name,
		           c->name);
	else
		error_hint(p->err, "memwho %s --help lists all options", c->name);
	return r;
}

/* @attached: what follows in the same word ("--name=value", "-dVALUE"), or NULL. */
static int take_value(struct parser *p, const struct cli_option *o, const char *attached)
{
	if (attached)
		return add(p, o, attached);
	if (p->at >= p->argc)
		return error_set(p->err, EINVAL, "--%s needs a value (%s)", o->name, o->arg);
	return add(p, o, p->argv[p->at++]);
}

static int parse_long(struct parser *p, const char *text)
{
	size_t len = strcspn(text, "=");
	const struct cli_option *o = find(p->args->command, 0, text, len);
	const char *attached = text[len] ? text + len + 1 : NULL;

	if (!o)
		return unknown(p, text, len);
	if (o->arg)
		return take_value(p, o, attached);
	if (attached)
		return error_set(p->err, EINVAL, "--%s takes no value", o->name);
	return add(p, o, "");
}

/* "-qv", "-d5s", "-qd 5s" */
static int parse_short(struct parser *p, const char *text)
{
	for (; *text; text++) {
		const struct cli_option *o = find(p->args->command, *text, NULL, 0);
		int r;

		if (!o) {
			r = error_set(p->err, EINVAL, "%s has no option -%c",
			              p->args->command->name, *text);
			error_hint(p->err, "memwho %s --help lists all options",
			           p->args->command->name);
			return r;
		}
		if (o->arg)
			return take_value(p, o, text[1] ? text + 1 : NULL);
		r = add(p, o, "");
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_words(struct parser *p)
{
	while (p->at < p->argc) {
		char *word = p->argv[p->at++];
		int r = 0;

		if (!strcmp(word, "--")) {
			p->args->rest = p->argv + p->at;
			return 0;
		}
		if (word[0] == '-' && word[1] == '-')
			r = parse_long(p, word + 2);
		else if (word[0] == '-' && word[1])
			r = parse_short(p, word + 1);
		else
			p->args->words[p->args->n_words++] = word;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Letters that one word of argv can hold: "-qqv" is three options. */
static size_t most_options(int argc, char **argv)
{
	size_t n = 1;

	for (int i = 0; i < argc; i++)
		n += argv[i][0] == '-' ? strlen(argv[i]) : 0;
	return n;
}

int args_parse(const struct cli_command *command, int argc, char **argv, struct cli_args *ret,
               struct error *err)
{
	size_t n = most_options(argc, argv);
	struct cli_args args = {
		.command = command,
		.options = calloc(n, sizeof(*args.options)),
		.values = calloc(n, sizeof(*args.values)),
		.words = calloc((size_t)argc + 1, sizeof(*args.words)),
	};
	struct parser p = { .args = &args, .argv = argv, .argc = argc, .err = err };
	int r;

	r = args.options && args.values && args.words ? parse_words(&p) : error_oom(err);
	if (r < 0) {
		args_clear(&args);
		return r;
	}
	*ret = args;
	return 0;
}

void args_clear(struct cli_args *args)
{
	free(args->options);
	free(args->values);
	free(args->words);
	*args = (struct cli_args){ 0 };
}
