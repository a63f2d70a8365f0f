/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/colour.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

/* "libc.so.6", "libc-2.31.so" and "libc.so" are one module to the eye. */
static size_t stem(const char *module)
{
	const char *so = strstr(module, ".so");
	size_t n = so ? (size_t)(so - module) : strlen(module);

	for (size_t i = 1; i + 1 < n; i++) {
		if (module[i] == '-' && module[i + 1] >= '0' && module[i + 1] <= '9')
			return i;
	}
	return n;
}

/* Kinds of a ladder's rows stand side by side in every picture: no two alike.
 * Grey is what nobody owns. 0: no kind. */
static unsigned kind_class(const char *module)
{
	static const char *const kinds[] = {
		"glibc-arena", "file",       "thread-stack", "jemalloc", "glibc-mmapped",
		"go",          "main-stack", "python",       "tcmalloc", "lua",
		"shared",      "mimalloc",   "v8",           "musl",     "postgres",
		"jvm",         "other-heap", "vdso",         "memwho",
	};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		/* neighbours in the list are far apart on the wheel */
		if (!strcmp(kinds[i], module))
			return 1 + (i * 11 + 4) % (COLOUR_HUES - 1);
	}
	return 0;
}

static unsigned hue_class(const char *module)
{
	unsigned kind = kind_class(module);
	uint64_t h;

	if (kind)
		return kind;
	if (!*module || *module == '[' || !strcmp(module, "unnamed") || !strcmp(module, "guard"))
		return 0;
	h = hash_bytes(module, stem(module), 1);
	if (strstr(module, ".so"))
		return 1 + COLOUR_WARM + (unsigned)(h % COLOUR_COOL);
	return 1 + (unsigned)(h % COLOUR_WARM);
}

unsigned colour_class(const char *module, const char *name, bool is_named)
{
	unsigned hue = hue_class(module) + (is_named ? 0 : COLOUR_HUES);

	return hue * COLOUR_SHADES + (unsigned)(hash_bytes(name, strlen(name), 2) % COLOUR_SHADES);
}

unsigned colour_diff_class(int64_t delta, int64_t most)
{
	/* by the square root: a tenth of the largest change is still seen */
	double share = most > 0 ? sqrt(fabs((double)delta) / (double)most) : 0;
	int step = (int)ceil((share > 1 ? 1 : share) * COLOUR_DIFF_STEPS);

	return (unsigned)(COLOUR_DIFF + COLOUR_DIFF_STEPS + (delta < 0 ? -step : step));
}

struct lch {
	double light, chroma, hue; /* Oklch: equal steps look equal */
};

static int channel(double linear)
{
	double c = linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055;

	return c <= 0 ? 0 : c >= 1 ? 255 : (int)lround(c * 255);
}

/* Oklab to sRGB: Bjorn Ottosson, "A perceptual color space for image processing". */
static void to_rgb(struct lch c, int rgb[3])
{
	double a = c.chroma * cos(c.hue * M_PI / 180), b = c.chroma * sin(c.hue * M_PI / 180);
	double l = pow(c.light + 0.3963377774 * a + 0.2158037573 * b, 3);
	double m = pow(c.light - 0.1055613458 * a - 0.0638541728 * b, 3);
	double s = pow(c.light - 0.0894841775 * a - 1.2914855480 * b, 3);

	rgb[0] = channel(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s);
	rgb[1] = channel(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s);
	rgb[2] = channel(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s);
}

static struct lch module_colour(unsigned colour, bool dark)
{
	unsigned shade = colour % COLOUR_SHADES, hue = colour / COLOUR_SHADES;
	double step = shade - (COLOUR_SHADES - 1) / 2.0; /* -1.5 .. 1.5 */
	bool is_named = hue < COLOUR_HUES;
	struct lch c = { .light = dark ? 0.48 + 0.022 * step : 0.82 + 0.022 * step,
		         .chroma = dark ? 0.095 : 0.105 };

	hue %= COLOUR_HUES;
	if (hue == 0)
		c.chroma = 0.008, c.hue = 260;
	else if (hue <= COLOUR_WARM)
		c.hue = 32 + (hue - 1) * 8.5;
	else
		c.hue = 118 + (hue - 1 - COLOUR_WARM) * 13.5;
	c.hue += 2 * step;
	if (!is_named)
		c.chroma *= 0.45;
	return c;
}

static struct lch diff_colour(unsigned colour, bool dark)
{
	int step = (int)(colour - COLOUR_DIFF) - COLOUR_DIFF_STEPS;
	double share = fabs((double)step) / COLOUR_DIFF_STEPS;

	return (struct lch){
		.light = dark ? 0.36 + 0.16 * share : 0.93 - 0.23 * share,
		.chroma = step ? 0.02 + (dark ? 0.15 : 0.15) * share : 0.005,
		.hue = step < 0 ? 250 : 25,
	};
}

const char *colour_hex(unsigned colour, bool dark, char buf[8])
{
	int rgb[3];

	to_rgb(colour >= COLOUR_DIFF ? diff_colour(colour, dark) : module_colour(colour, dark),
	       rgb);
	snprintf(buf, 8, "#%02x%02x%02x", rgb[0] & 255, rgb[1] & 255, rgb[2] & 255);
	return buf;
}
