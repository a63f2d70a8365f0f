/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * An item as the body of a request. Sources: the API modules of Pyroscope
 * (github.com/grafana/pyroscope/api v1.6.0, push/v1/push.proto, as Connect's
 * JSON) and of Parca (profilestore.proto: WriteRawRequest, by grpc-gateway); OTLP/HTTP with
 * protobuf (profile/otlp.h), at the path of OpenTelemetry's collector.
 */

#include <stdbool.h>
#include <stdio.h>

#include "serve/push_queue.h"

enum push_body_kind { PUSH_BODY_PYROSCOPE, PUSH_BODY_PARCA, PUSH_BODY_OTLP };

/* Path of the API below the server's URL. */
const char *push_body_path(enum push_body_kind k);
const char *push_body_type(enum push_body_kind k); /* Content-Type */

/* "key=value": a name that the servers take (letters, digits, '_'). */
bool push_body_is_label(const char *label);

/* @labels: "key=value", beside __name__, service_name, host and trigger. @host: of
 * this machine. The same item has the same id in each attempt. -EBADMSG: its profile cannot be
 * read, and never will be. */
int push_body_write(enum push_body_kind k, const struct push_queue_item *item, const char *host,
                    const char *const *labels, size_t n_labels, FILE *to, struct error *err);

/* A server of OTLP may say yes, and in its answer that it has refused some: did it? */
bool push_body_is_rejected(enum push_body_kind k, const void *answer, size_t len);
