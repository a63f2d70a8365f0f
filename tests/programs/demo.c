/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What `./dev demo` looks at: a small server that answers requests on two
 * threads, remembers sessions in a cache, and forgets to drop some of them.
 * What it holds grows by about 100 KiB a second; it allocates a few thousand
 * times a second, which is quiet.
 *
 *	demo [SECONDS]       prints its pid, then works until it is killed
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N_SLOTS = 4096, REQUESTS_PER_TICK = 4, TICK_NS = 4000000 };

struct session {
	struct session *next;
	char *user, *history;
	unsigned long requests;
};

static struct session *slots[N_SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static char *history_new(size_t bytes)
{
	char *h = malloc(bytes);

	if (h)
		memset(h, 'h', bytes);
	return h;
}

static char *user_name(unsigned long id)
{
	char text[32];

	snprintf(text, sizeof(text), "user-%lu", id);
	return strdup(text);
}

static struct session *session_new(unsigned long id)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		exit(1);
	s->user = user_name(id);
	s->history = history_new(200 + id % 100);
	return s;
}

static void session_free(struct session *s)
{
	free(s->user);
	free(s->history);
	free(s);
}

/* The mistake: a session whose slot is taken is pushed in front of the older
 * one, and expire() only ever looks at the first. */
static void cache_put(struct session *s, unsigned long id)
{
	pthread_mutex_lock(&lock);
	s->next = slots[id % N_SLOTS];
	slots[id % N_SLOTS] = s;
	pthread_mutex_unlock(&lock);
}

static void cache_expire(unsigned long id)
{
	struct session *s;

	pthread_mutex_lock(&lock);
	s = slots[id % N_SLOTS];
	if (s)
		slots[id % N_SLOTS] = s->next;
	pthread_mutex_unlock(&lock);
	if (s)
		session_free(s);
}

static void handle_login(unsigned long id)
{
	cache_put(session_new(id), id);
	if (id % 3 == 0)
		cache_expire(id / 2);
}

static char *render_page(unsigned long id)
{
	char *page = malloc(4096);

	if (page)
		snprintf(page, 4096, "<h1>%lu</h1>", id);
	return page;
}

static void handle_page(unsigned long id)
{
	free(render_page(id));
}

static void handle_report(unsigned long id)
{
	static char *last[16];
	char *rows = malloc(2000);

	if (rows)
		snprintf(rows, 2000, "report %lu", id);
	pthread_mutex_lock(&lock);
	free(last[id % 16]);
	last[id % 16] = rows;
	pthread_mutex_unlock(&lock);
}

static void handle_request(unsigned long id)
{
	switch (id % 4) {
	case 0: handle_login(id); break;
	case 1: handle_report(id); break;
	default: handle_page(id);
	}
}

static void *serve(void *argument)
{
	const struct timespec tick = { .tv_nsec = TICK_NS };
	unsigned long id = *(unsigned long *)argument;

	for (;;) {
		for (int i = 0; i < REQUESTS_PER_TICK; i++)
			handle_request(id += 3);
		nanosleep(&tick, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static unsigned long first[2] = { 0, 1 };
	pthread_t thread;

	for (int i = 0; i < 2; i++) {
		if (pthread_create(&thread, NULL, serve, &first[i]))
			return 1;
	}
	printf("%d\n", getpid());
	fflush(stdout);
	if (argc > 1)
		sleep((unsigned)atol(argv[1]));
	else
		pause();
	return 0;
}
