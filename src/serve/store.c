/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/store.h"

#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "serve/pushes.h"
#include "serve/tally.h"

static int copy_to(FILE *to, int fd, uint64_t bytes, struct error *err)
{
	char data[65536];

	for (uint64_t at = 0; at < bytes;) {
		ssize_t n = pread(fd, data, sizeof(data), (off_t)at);

		if (n <= 0)
			return error_sys(err, n < 0 ? errno : EIO, "cannot read the capture");
		fwrite(data, 1, (size_t)n, to);
		at += (uint64_t)n;
	}
	return 0;
}

static int keep(struct spool *spool, const struct spool_about *about, const struct jobs_result *r,
                struct spool_capture *ret, struct error *err)
{
	cleanup(spool_drop) struct spool_file f = { 0 };
	int rc = spool ? 0 : error_set(err, ENOENT, "there is no spool");

	if (rc == 0)
		rc = spool_begin(spool, about, &f, err);
	if (rc == 0)
		rc = copy_to(f.to, r->fd, r->bytes, err);
	return rc < 0 ? rc : spool_commit(&f, ret, err);
}

int store_capture(struct service *s, const struct spool_about *about, const struct jobs_result *r,
                  const char *by, const char *kind, struct spool_capture *ret)
{
	struct spool_capture kept = { 0 };
	struct error err = r->err;
	int rc = err.code ? err.code : keep(s->spool, about, r, &kept, &err);

	tally_add(&s->tally, about->target, about->trigger, rc < 0 ? "failed" : "ok",
	          rc < 0 ? NULL : kept.id);
	if (rc < 0) {
		log_note(LOG_WARN, "target %s: capture by %s failed: %s", about->target, by,
		         err.message);
		return rc;
	}
	pushes_add(s->pushes, &kept, kind, r->fd, r->bytes);
	log_note(LOG_INFO, "target %s: kept %s (%s)%s%s", about->target, kept.id, by,
	         about->reason ? ": " : "", about->reason ? about->reason : "");
	if (ret)
		*ret = kept;
	return 0;
}
