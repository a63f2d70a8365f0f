/* SPDX-License-Identifier: GPL-2.0-or-later */

/* /metrics without a service: the page of made-up targets, one of which grows by exactly
 * 100,000 bytes a second towards its limit, served on 127.0.0.1:PORT to whoever asks; or
 * once to standard output.
 *
 *	serve_metrics text|openmetrics
 *	serve_metrics PORT
 */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "serve/metrics_page.h"

#define CAPTURE "20261126T110000Z-3-growth"

static uint64_t begin_ns;

static int write_page(FILE *to, enum metrics_format f)
{
	double seconds = (double)(clock_now_ns() - begin_ns) / 1e9;
	struct metrics_page_rows rows = {
		.row = { { "glibc-arena", 300 << 20, 200 << 20, 0, 150 << 20, 1 << 20 },
		         { "thread-stack", 80 << 20, 1 << 20, 4096, -1, -1 },
		         { "unnamed", 4096, 0, 0, -1, -1 } },
		.n = 3,
	};
	struct metrics_page_target targets[] = {
		{ "api", "a\\b\"c\nd\xff", true, &rows, 1e6 + 1e5 * seconds, 5e8 + 1e5 * seconds,
		  6e8, 1000 - seconds, 1e5, true, 12345, 7, 0.25, 9e6 },
		{ "gone", NULL, false, NULL, -1, -1, -1, -1, 0, false, -1, -1, -1, -1 },
	};
	struct metrics_page_captures captures[] = {
		{ "api", "growth", "ok", 3, CAPTURE, 1795690800 },
		{ "api", "growth", "failed", 1, NULL, 0 },
	};
	struct metrics_page_push pushes[] = { { "pyroscope", 1, 2000, 3, 4, 5, 6 } };
	struct spool_counts spool = { .captures = 4, .bytes = 40000, .evicted = 2, .refused = 1 };
	struct metrics_page p = { "0.1.0", targets, 2, captures, 2, pushes, 1, &spool, 9 };
	struct error err;

	return metrics_page_write(&p, f, to, &err);
}

static void answer(int fd)
{
	cleanup_free char *body = NULL;
	char request[4096];
	size_t len = 0;
	ssize_t n = read(fd, request, sizeof(request) - 1);
	FILE *to = open_memstream(&body, &len);
	enum metrics_format f;

	request[n > 0 ? n : 0] = '\0';
	f = metrics_choose(request); /* all headers: one of them is Accept */
	write_page(to, f);
	fclose(to);
	dprintf(fd, "HTTP/1.0 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
	        metrics_content_type(f), len);
	if (write(fd, body, len) < 0)
		return;
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	begin_ns = clock_now_ns();
	if (argc != 2)
		return 2;
	if (!strcmp(argv[1], "text"))
		return write_page(stdout, METRICS_TEXT) < 0;
	if (!strcmp(argv[1], "openmetrics"))
		return write_page(stdout, METRICS_OPENMETRICS) < 0;
	a.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			continue;
		answer(c);
		close(c);
	}
}
