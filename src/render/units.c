/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *units_bytes(int64_t bytes, char *buf, size_t size)
{
	static const char *const names[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = fabs((double)bytes) / 1024;
	size_t i = 0;

	if (bytes > -1024 && bytes < 1024) {
		snprintf(buf, size, "%" PRId64 " B", bytes);
		return buf;
	}
	/* 1023.97 KiB would be printed as 1024.0 KiB */
	while (v >= 1023.95 && i + 1 < sizeof(names) / sizeof(names[0])) {
		v /= 1024;
		i++;
	}
	snprintf(buf, size, "%s%.1f %s", bytes < 0 ? "-" : "", v, names[i]);
	return buf;
}

const char *units_count(int64_t n, char *buf, size_t size)
{
	char digits[32];
	size_t len, out = 0;

	snprintf(digits, sizeof(digits), "%" PRIu64, n < 0 ? -(uint64_t)n : (uint64_t)n);
	len = strlen(digits);
	if (n < 0 && out + 1 < size)
		buf[out++] = '-';
	for (size_t i = 0; i < len && out + 2 < size; i++) {
		if (i && (len - i) % 3 == 0)
			buf[out++] = ',';
		buf[out++] = digits[i];
	}
	buf[out] = 0;
	return buf;
}

const char *units_range(int64_t low, int64_t high, bool is_bytes, char *buf, size_t size)
{
	char a[UNITS_BYTES], b[UNITS_BYTES];
	const char *unit;

	units_value(low, is_bytes, false, a, sizeof(a));
	units_value(high, is_bytes, false, b, sizeof(b));
	unit = strchr(a, ' ');
	if (unit && strchr(b, ' ') && !strcmp(unit, strchr(b, ' ')))
		a[unit - a] = 0;
	snprintf(buf, size, "%s\xe2\x80\x93%s", a, b);
	return buf;
}

const char *units_seconds(double s, char *buf, size_t size)
{
	if (!isfinite(s) || s < 0)
		snprintf(buf, size, "?");
	else if (s < 0.0995)
		snprintf(buf, size, "%.1f ms", s * 1e3);
	else if (s < 99.95)
		snprintf(buf, size, "%.1f s", s);
	else if (s < 3600)
		snprintf(buf, size, "%d min %d s", (int)s / 60, (int)s % 60);
	else if (s < 48 * 3600)
		snprintf(buf, size, "%d h %d min", (int)s / 3600, (int)s / 60 % 60);
	else
		snprintf(buf, size, "%.1f days", s / 86400);
	return buf;
}

const char *units_percent(double part, double whole, char *buf, size_t size)
{
	double v = whole != 0 ? 100 * part / whole : 0;

	if (v > 99.9 && v < 100 && part < whole)
		v = 99.9; /* "100.0 %" means all of it */
	snprintf(buf, size, v != 0 && fabs(v) < 0.05 ? "%.2f %%" : "%.1f %%", v);
	return buf;
}

const char *units_value(int64_t v, bool is_bytes, bool sign, char *buf, size_t size)
{
	size_t at = sign && v > 0 && size > 1 ? 1 : 0;

	if (at)
		buf[0] = '+';
	if (is_bytes)
		units_bytes(v, buf + at, size - at);
	else
		units_count(v, buf + at, size - at);
	return buf;
}
