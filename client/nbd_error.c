/* client/nbd_error.c -- what libnbd and servers say when something fails. */
#include "client/nbd_error.h"

#include <errno.h>
#include <libnbd.h>
#include <stdio.h>
#include <string.h>

#include "server/nbd_wire.h"

int errno_of_libnbd(int error)
{
	switch (error) {
	case 0:
	case EPERM:
	case EIO:
	case ENOMEM:
	case EINVAL:
	case ENOSPC:
	case EOVERFLOW:
	case ENOTSUP:
		return -error;
	default:
		return -EIO;
	}
}

/* On Linux the numbers are the same; not all that fit in 32 bits are an errno. */
int errno_of_nbd(uint32_t error)
{
	return error <= NBD_ESHUTDOWN ? errno_of_libnbd((int)error) : -EIO;
}

bool libnbd_lost_it(int error)
{
	return error == ENOTCONN || error == EPROTO || error == ESHUTDOWN;
}

static bool starts(const char *text, const char *word)
{
	return strncmp(text, word, strlen(word)) == 0;
}

/* "nbd_aio_notify_read: connect: ..." without its first word. */
static const char *skip_function(const char *text)
{
	size_t name = strcspn(text, ": ");

	return starts(text, "nbd_") && starts(text + name, ": ") ? text + name + 2 : text;
}

const char *libnbd_why(const char *uri, char *out, size_t out_size)
{
	const char *text = nbd_get_error();
	int error = nbd_get_errno();

	text = text ? skip_function(text) : "unknown error";
	/* The host and port in it are in the URI that we print anyway. */
	if (error && (starts(text, "connect: ") || starts(text, "recv: ") || starts(text, "send: ")))
		text = strerror(error);
	else if (strstr(text, uri))
		text = "not a valid NBD URI";
	snprintf(out, out_size, "%s", text);
	return out;
}
