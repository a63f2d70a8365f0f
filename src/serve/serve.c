/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/serve.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "serve/alarms.h"
#include "serve/caps.h"
#include "serve/front.h"
#include "serve/http.h"
#include "serve/keeper.h"
#include "serve/notify.h"
#include "serve/oom.h"
#include "serve/pushes.h"
#include "serve/service.h"
#include "serve/sizes.h"
#include "serve/slice.h"
#include "serve/spool.h"
#include "serve/store.h"

enum {
	TICK_MS = 100,
	WAITING_MS = 50, /* to find out that a client has gone */
	STOP_SECONDS = 10,
	PRUNE_SECONDS = 60,
	MAX_FILES = 65536,
};

struct loop {
	struct service *s;
	int epoll, signals;
	sigset_t old_mask;
	uint64_t tick_ns, second_ns, watchdog_ns, stop_ns;
};

/* ---- beginning ---- */

int serve_check(const struct config *c, struct error *err)
{
	int r = alarms_check(c, err);

	return r < 0 ? r : pushes_check(c, err);
}

/* Connections and results are descriptors. */
static void raise_file_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	l.rlim_cur = l.rlim_max < MAX_FILES ? l.rlim_max : MAX_FILES;
	setrlimit(RLIMIT_NOFILE, &l);
}

static int read_token(struct service *s, struct error *err)
{
	return s->config.token_file ? peer_read_token(s->config.token_file, &s->token, err) : 0;
}

static void on_capture_end(void *arg, const struct jobs_key *key, const char *outcome)
{
	struct service *s = arg;

	tally_add(&s->tally, key->target, "request", outcome, NULL);
}

static struct jobs_options job_options(struct service *s)
{
	return (struct jobs_options){
		.slots = s->config.slots,
		.budget = s->config.budget,
		.ended = on_capture_end,
		.arg = s,
	};
}

static struct spool_options spool_options(const struct config *c)
{
	return (struct spool_options){
		.folder = c->spool,
		.max_bytes = c->spool_bytes,
		.max_captures = c->spool_captures,
		.max_age_s = c->spool_age_s,
		.min_free_percent = (unsigned)c->spool_free_percent,
	};
}

static int begin(struct service *s, struct error *err)
{
	const struct jobs_options o = job_options(s);
	const struct spool_options kept = spool_options(&s->config);
	int r = serve_check(&s->config, err);

	s->begun_ns = clock_now_ns();
	raise_file_limit();
	if (r == 0)
		r = read_token(s, err);
	if (r == 0 && kept.folder)
		r = spool_open(&kept, &s->spool, err);
	if (r == 0)
		r = front_open(s, err);
	s->oom = oom_open();
	if (r == 0)
		r = caps_drop(err);
	if (r == 0)
		r = watched_new(&s->config, &s->watched, err);
	if (r == 0)
		r = jobs_new(&o, &s->jobs, err);
	if (r == 0)
		r = sizes_new(&s->sizes, err);
	if (r == 0)
		r = alarms_new(s, &s->alarms, err);
	if (r == 0)
		r = pushes_new(&s->config, &s->pushes, err);
	if (r == 0)
		pushes_catch_up(s->pushes, s->spool);
	if (r == 0)
		r = store_new(s, &s->store, err);
	if (r == 0)
		r = front_start(s, err);
	return r;
}

static void service_clear(struct service *s)
{
	front_stop(s);
	if (s->store) /* its answers are for alarms, too */
		store_drain(s->store);
	s->alarms = alarms_free(s->alarms);
	s->sizes = sizes_free(s->sizes, s->jobs);
	s->jobs = jobs_free(s->jobs);
	s->store = store_free(s->store);
	s->watched = watched_free(s->watched);
	s->pushes = pushes_free(s->pushes);
	s->spool = spool_close(s->spool);
	s->oom = oom_close(s->oom);
	tally_clear(&s->tally);
	front_close(s);
	config_clear(&s->config);
	free(s->token);
}

/* ---- signals ---- */

static bool is_same_text(const char *a, const char *b)
{
	return !a == !b && (!a || !strcmp(a, b));
}

/* Another folder is another spool; the same has other limits, perhaps. */
static int use_spool(struct service *s, const struct config *old, struct spool **fresh,
                     struct error *err)
{
	const struct spool_options kept = spool_options(&s->config);

	*fresh = s->spool;
	if (!is_same_text(old->spool, s->config.spool)) {
		*fresh = NULL;
		return kept.folder ? spool_open(&kept, fresh, err) : 0;
	}
	return s->spool ? spool_set_limits(s->spool, &kept, err) : 0;
}

/* Rules begin anew: what they had seen was for another rule, perhaps. */
static int use_config(struct service *s, const struct config *old, struct error *err)
{
	struct alarms *alarms = NULL;
	struct spool *spool = s->spool;
	int r = alarms_new(s, &alarms, err);

	store_drain(s->store);
	if (r == 0)
		r = use_spool(s, old, &spool, err);
	if (r == 0)
		r = watched_reload(s->watched, &s->config, err);
	if (r < 0) {
		alarms_free(alarms);
		if (spool != s->spool)
			spool_close(spool);
		return r;
	}
	alarms_free(s->alarms);
	s->alarms = alarms;
	if (spool != s->spool)
		spool_close(s->spool);
	s->spool = spool;
	pushes_reload(s->pushes, old, &s->config);
	pushes_catch_up(s->pushes, s->spool);
	return 0;
}

static bool is_open_to_all(const struct service *s, const struct front *f, const char *token)
{
	const struct listen_address *a = f->listen_fd >= 0 ? &f->address : &s->address;
	const char *ca = f->http ? f->tls.client_ca : s->tls.client_ca;

	return !token && !ca && !a->is_unix && !listen_is_loopback(a);
}

/* All of it or nothing. */
static int reload(struct service *s, bool *other_fd, struct error *err)
{
	cleanup(config_clear) struct config fresh = { 0 };
	cleanup(front_drop) struct front front = { .listen_fd = -1 };
	cleanup_free char *token = NULL;
	struct config old;
	struct jobs_options o;
	int r = config_read(s->config.path, &fresh, err);

	if (r == 0)
		r = serve_check(&fresh, err);
	if (r == 0 && fresh.token_file)
		r = peer_read_token(fresh.token_file, &token, err);
	if (r == 0)
		r = front_prepare(s, &fresh, &front, err);
	if (r == 0 && is_open_to_all(s, &front, token))
		r = error_set(err, EPERM,
		              "the socket is reached from other machines: token_file "
		              "cannot be taken away");
	if (r < 0)
		return r;
	old = s->config;
	s->config = fresh;
	r = use_config(s, &old, err);
	if (r < 0) {
		s->config = old;
		return r;
	}
	fresh = old; /* to be cleared */
	free(s->token);
	s->token = take_ptr(token);
	*other_fd = front_use(s, &front);
	o = job_options(s);
	jobs_set_options(s->jobs, &o);
	return 0;
}

static int add_fd(struct loop *l, int fd, struct error *err)
{
	struct epoll_event e = { .events = EPOLLIN };

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? error_sys(err, errno, "epoll") : 0;
}

static void on_hup(struct loop *l)
{
	struct service *s = l->s;
	struct error err = { 0 };
	bool other_fd = false;
	char text[64];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now_ns() / 1000);
	notify_send(text);
	if (reload(s, &other_fd, &err) < 0)
		log_note(LOG_WARN, "the configuration stays as it was: %s", err.message);
	else
		log_note(LOG_INFO, "configuration read again: %zu targets", s->config.n_targets);
	/* without it the loop comes by ten times a second */
	if (other_fd && add_fd(l, http_fd(s->http), &err) < 0)
		log_note(LOG_WARN, "%s", err.message);
	notify_send("READY=1");
}

static void on_term(struct loop *l)
{
	if (l->s->stopping)
		return;
	notify_send("STOPPING=1");
	l->s->stopping = true;
	l->stop_ns = clock_now_ns();
	http_close_listener(l->s->http);
	jobs_stop(l->s->jobs);
}

static void take_signals(struct loop *l)
{
	struct signalfd_siginfo i;

	while (read(l->signals, &i, sizeof(i)) == (ssize_t)sizeof(i)) {
		if (i.ssi_signo == SIGHUP)
			on_hup(l);
		else if (i.ssi_signo != SIGCHLD) /* its worker's end is seen by jobs_run() */
			on_term(l);
	}
}

/* ---- the loop ---- */

static int loop_init(struct loop *l, struct error *err)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &l->old_mask);
	signal(SIGPIPE, SIG_IGN);
	l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->signals < 0 || l->epoll < 0)
		return error_sys(err, errno, "cannot wait for events");
	r = add_fd(l, l->signals, err);
	if (r == 0)
		r = add_fd(l, http_fd(l->s->http), err);
	return r < 0 ? r : add_fd(l, jobs_fd(l->s->jobs), err);
}

static int wait_ms(const struct loop *l)
{
	int ms = front_has_waiters(l->s) || l->s->stopping ? WAITING_MS : TICK_MS;
	int http = http_timeout_ms(l->s->http);

	return http >= 0 && http < ms ? http : ms;
}

static bool is_due(uint64_t *last_ns, uint64_t every_ns, uint64_t now)
{
	if (now - *last_ns < every_ns)
		return false;
	*last_ns = now;
	return true;
}

static void every_tick(struct service *s)
{
	oom_run(s->oom);
	watched_run(s->watched);
	store_run(s->store);
	if (!s->stopping)
		alarms_run(s->alarms);
}

static void every_second(struct service *s)
{
	keeper_run(s);
	sizes_run(s->sizes, s->jobs, s->watched);
	if (s->spool && ++s->seconds % PRUNE_SECONDS == 0)
		store_prune(s->store);
}

static void tick(struct loop *l)
{
	uint64_t now = clock_now_ns(), watchdog = notify_watchdog_ns();

	if (is_due(&l->tick_ns, TICK_MS * 1000000ull, now))
		every_tick(l->s);
	if (is_due(&l->second_ns, 1000000000ull, now) && !l->s->stopping)
		every_second(l->s);
	if (watchdog && is_due(&l->watchdog_ns, watchdog, now))
		notify_send("WATCHDOG=1");
}

static bool has_ended(const struct loop *l)
{
	if (!l->s->stopping)
		return false;
	return jobs_has_stopped(l->s->jobs) ||
	       clock_now_ns() - l->stop_ns > STOP_SECONDS * 1000000000ull;
}

static void loop_run(struct loop *l)
{
	struct epoll_event events[8];

	while (!has_ended(l)) {
		(void)!epoll_wait(l->epoll, events, ARRAY_SIZE(events), wait_ms(l));
		take_signals(l);
		jobs_run(l->s->jobs);
		front_run(l->s);
		tick(l);
	}
	/* answers that are under way are sent to their ends, for a moment */
	for (int i = 0; i < 20; i++) {
		(void)!epoll_wait(l->epoll, events, ARRAY_SIZE(events), 5);
		front_run(l->s);
	}
}

static void loop_clear(struct loop *l)
{
	if (l->epoll >= 0)
		close(l->epoll);
	if (l->signals >= 0)
		close(l->signals);
	sigprocmask(SIG_SETMASK, &l->old_mask, NULL);
}

int serve_run(const char *path, struct error *err)
{
	cleanup(service_clear) struct service s = { .listen_fd = -1 };
	cleanup(loop_clear) struct loop l = { .s = &s, .epoll = -1, .signals = -1 };
	int r = config_read(path, &s.config, err);

	sigprocmask(SIG_BLOCK, NULL, &l.old_mask);
	if (r == 0)
		r = begin(&s, err);
	if (r == 0)
		r = loop_init(&l, err);
	if (r < 0)
		return r;
	slice_make_short();
	front_tell(&s);
	notify_send("READY=1");
	loop_run(&l);
	return 0;
}
