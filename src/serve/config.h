/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * memwho.conf: INI sections [serve], [target "NAME"], [trigger "NAME"] and
 * [push "NAME"], with `key = value` lines. The one list of keys is the table in
 * config_keys.c; docs and their test are compared with it.
 *
 * The surprising rule: nothing is guessed. An unknown key, a key twice, a value
 * that is none, a section without a name or twice: each is an error with the
 * line and, where there is one, the nearest name that exists; a configuration
 * is taken as a whole or not at all, so that SIGHUP with a mistake in the file
 * changes nothing.
 *
 * All strings are owned by the configuration and are never NULL unless their
 * comment says so.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum {
	CONFIG_NAME_BYTES = 64, /* of a section's name, with its NUL */
	CONFIG_MAX_SECTIONS = 4096,
};

struct config_list {
	char **items; /* words of a value, in order */
	size_t n, cap;
};

enum config_record { CONFIG_DEMAND, CONFIG_ALWAYS };

struct config_target {
	char name[CONFIG_NAME_BYTES]; /* [A-Za-z0-9_.-], and not only digits: those are pids */
	unsigned line;                /* where the section begins */
	char *spec; /* as target_resolve() wants it: "4711", "cgroup:/x"; NULL with @exe */
	char *exe;  /* path of the executable, as /proc/PID/exe has it; NULL with @spec */
	int record; /* enum config_record */
};

/* When a capture is made by itself. What the texts mean is trigger.h's. */
struct config_trigger {
	char name[CONFIG_NAME_BYTES];
	unsigned line;
	struct config_list targets; /* names of [target]s; none: all */
	char *rule;       /* "growth 256M in 10m", "above 80% of limit", "eta 15m to limit" */
	char *capture;    /* "auto", "alloc", "refs", "map" ... */
	uint64_t seconds; /* how long to record, 0: the default of what is captured */
	uint64_t cooldown_s, warmup_s;
	uint64_t per_day; /* at most so many a day; 0: no limit */
};

/* Where captures are sent. */
struct config_push {
	char name[CONFIG_NAME_BYTES];
	unsigned line;
	char *kind;                                 /* "pyroscope", "parca" or "otlp" */
	char *url;                                  /* http:// or https:// */
	char *tenant;                               /* X-Scope-OrgID; NULL: none */
	char *user;                                 /* with password_file: basic; NULL: none */
	char *password_file, *token_file, *ca_file; /* NULL: none */
	struct config_list labels;                  /* "key=value" words */
	uint64_t queue_bytes;                       /* on disk */
};

struct config {
	char *path;    /* it was read from */
	unsigned line; /* where [serve] begins; 0: there is none */

	/* [serve] */
	char *listen;     /* "unix:/PATH", "HOST:PORT", "[V6]:PORT"; socket activation goes first */
	char *group;      /* of the Unix socket: who may connect; NULL: ours */
	char *spool;      /* folder; NULL: captures are not kept */
	char *token_file; /* NULL: none */
	char *tls_cert, *tls_key,
		*tls_client_ca;          /* all or none; mTLS: clients need a certificate */
	struct config_list hosts;        /* more names that a Host header may have */
	struct config_list allow_comm;   /* pids by URL: only these commands; none: all */
	struct config_list allow_uid;    /* ... only of these users (numbers) */
	struct config_list allow_cgroup; /* ... only in these cgroups or below */
	uint64_t max_seconds;            /* of one capture */
	uint64_t slots;                  /* captures at the same time */
	uint64_t connections, connections_per_address;
	uint64_t timeout_s; /* a client that says or takes nothing for so long is gone */
	double budget;      /* of a target's CPU time, 0.02; 0: none */
	uint64_t spool_bytes, spool_captures, spool_age_s; /* 0: no limit */
	uint64_t spool_free_percent;

	struct config_target *targets;
	size_t n_targets, cap_targets;
	struct config_trigger *triggers;
	size_t n_triggers, cap_triggers;
	struct config_push *pushes;
	size_t n_pushes, cap_pushes;
};

/* Read, parse and check @path. The messages begin with "PATH:LINE: ". */
int config_read(const char *path, struct config *ret, struct error *err);
/* The same of a text of @len bytes, which is hostile; @path is for messages. */
int config_parse(const char *path, const char *text, size_t len, struct config *ret,
                 struct error *err);
void config_clear(struct config *c); /* { 0 } is empty */

/* NULL: no such [target]. */
const struct config_target *config_find_target(const struct config *c, const char *name);
