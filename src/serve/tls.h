/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* mTLS: has the client of @c a certificate of tls_client_ca? The library only asks for
 * one (microhttpd.h, MHD_OPTION_HTTPS_MEM_TRUST); whether it is right is ours to see. */

#include <microhttpd.h>
#include <stdbool.h>

bool tls_is_client_trusted(struct MHD_Connection *c);
