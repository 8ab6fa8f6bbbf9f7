/* The tables of frames and formats, for a program that asks. */
#include "codec/codec.h"
#include "frame/frame.h"

#include <errno.h>
#include <string.h>

const char *tn_frame_at(int index, const char **meaning)
{
	const struct tni_frame_ops *row = index < 0 ? NULL : tni_frame_at((size_t)index);

	if (meaning && row)
		*meaning = row->meaning;
	return row ? tni_frame_form(row) : NULL;
}

int tn_frame_delimiter(const char *name)
{
	for (size_t i = 0; tni_frame_at(i); i++)
		if (!strcmp(tni_frame_at(i)->name, name))
			return tni_frame_delimiter(tni_frame_at(i));
	return -1;
}

const char *tn_format_at(int index, const char **meaning)
{
	const struct tni_codec *codec = NULL;

	for (int i = 0; i <= index && tni_codecs[i]; i++)
		codec = i == index ? tni_codecs[i] : NULL;
	if (meaning && codec)
		*meaning = codec->meaning;
	return codec ? codec->name : NULL;
}

int tn_format_kind(const char *name)
{
	const struct tni_codec *codec = name ? tni_codec_find(name) : &tni_codec_raw;

	return codec ? (int)codec->kind : tni_codec_fail_name(name);
}

const char *tn_format_frame(const char *name)
{
	const struct tni_codec *codec = tni_codec_find(name);

	return codec ? codec->frame : NULL;
}
