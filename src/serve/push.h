/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Captures to a server of profiles: a queue on disk, and a thread that sends
 * what is in it. push_add() never waits for a network.
 *
 * What becomes of an item: accepted (2xx), it is gone; refused (4xx but 408 and
 * 429), it is dropped and counted; anything else, it is sent again after a
 * while that doubles from one second to five minutes, with jitter, or that
 * the server names (Retry-After). The surprising rule: where the connection
 * ended after the request and before the answer nobody knows whether the server
 * has it. It is sent again, with the same id and time: at least once, and the
 * server can tell. Nothing that was accepted is ever sent again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "serve/push_queue.h"

struct push;

struct push_options {
	const char *name;   /* of the section */
	const char *kind;   /* "pyroscope", "parca" or "otlp" */
	const char *url;    /* of the server, with a path in front of the API's if need be */
	const char *tenant; /* X-Scope-OrgID; NULL: none, as below */
	const char *user;   /* basic, with @password_file */
	const char *password_file, *token_file; /* read at each attempt */
	const char *ca_file;       /* whose certificates are believed, instead of the system's */
	const char *const *labels; /* "key=value" */
	size_t n_labels;
	const char *queue;       /* folder */
	uint64_t max_bytes;      /* of the queue; 0: 64 MiB */
	unsigned first_retry_ms; /* 0: 1000 */
};

struct push_counts {
	uint64_t queued, queued_bytes;
	uint64_t sent, refused, overflowed, retries, damaged; /* since it was opened */
	char last_error[160]; /* of the last attempt; "": it went well */
};

/* Could it be opened? Looks at the texts only (->queue is not). -EINVAL. */
int push_check(const struct push_options *o, struct error *err);
/* Texts are copied. -EINVAL: a kind, label or URL that is none. */
int push_open(const struct push_options *o, struct push **ret, struct error *err);
/* Ends the attempt that is under way; the queue stays on disk. Returns NULL. */
struct push *push_close(struct push *p);
void push_closep(struct push **p);

/* On disk when it returns 0. */
int push_add(struct push *p, const struct push_queue_item *item, struct error *err);
/* The capture that was added last, by its number in the spool (push_queue.h); false: there was
 * none since this queue was made. */
bool push_last(struct push *p, uint64_t *ret);
/* It, and all before it, count as added. */
int push_note(struct push *p, uint64_t number, struct error *err);
/* As of the last change that is done: it waits for no disk. */
void push_counts(struct push *p, struct push_counts *ret);
const char *push_name(const struct push *p);

/* How long to wait after @failures (1, 2, ...) in a row: from half of it to all of it,
 * @random in [0, 1). For tests. */
uint64_t push_wait_ms(unsigned first_ms, unsigned failures, double random);
/* What an HTTP status means. For tests. */
enum push_outcome { PUSH_SENT, PUSH_REFUSED, PUSH_AGAIN };
enum push_outcome push_outcome_of(long status);
