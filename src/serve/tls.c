/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/tls.h"

#include <gnutls/gnutls.h>

bool tls_is_client_trusted(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	unsigned status = ~0u;

	return info && info->tls_session &&
	       gnutls_certificate_verify_peers2(info->tls_session, &status) == GNUTLS_E_SUCCESS &&
	       !status;
}
