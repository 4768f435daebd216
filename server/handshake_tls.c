/* server/handshake_tls.c -- TLS between the negotiation and the socket, from STARTTLS on. */
#include "server/handshake_parts.h"

#include <errno.h>
#include <string.h>

#include "conf/log.h"
#include "server/tls_kernel.h"
#include "server/tls_stream.h"

int handshake_secure_by_kernel(struct handshake *handshake, bool *taken)
{
	int error;

	*taken = false;
	if (!handshake->tls || !handshake->all->tls->by_kernel)
		return 0;
	error = tls_kernel_take(handshake->tls, handshake->fd, taken);
	tls_stream_by_record(handshake->tls, false);
	if (*taken) {
		tls_stream_free(handshake->tls);
		handshake->tls = NULL;
	}
	return error;
}

void handshake_end_stream(const struct handshake *handshake)
{
	struct iovec out;

	if (!handshake->tls || !handshake->who.tls)
		return;
	tls_stream_end(handshake->tls);
	out = tls_stream_out(handshake->tls);
	if (out.iov_len > 0)
		handshake_send_some(handshake->fd, &out);
}

int handshake_send_out_tls(struct handshake *handshake)
{
	struct iovec plain, out;

	for (;;) {
		ssize_t moved;

		plain = handshake_out(handshake);
		moved = plain.iov_len > 0 ? tls_stream_write(handshake->tls, &plain, 1) : 0;
		if (moved < 0)
			return (int)moved;
		negotiation_sent(&handshake->negotiation, (size_t)moved);
		if (moved > 0)
			continue;
		out = tls_stream_out(handshake->tls);
		if (out.iov_len == 0)
			return 0;
		moved = handshake_send_some(handshake->fd, &out);
		if (moved < 0)
			return (int)moved;
		tls_stream_sent(handshake->tls, (size_t)moved);
	}
}

/* The ACK to NBD_OPT_STARTTLS has left: what comes now is TLS. Returns 0, or -1: closed. */
static int begin_tls(struct handshake *handshake)
{
	/* Somebody in between may have put it there, to be obeyed as if it had come through TLS. */
	if (handshake->in_length > 0) {
		handshake_close(handshake, CLOSE_tls_injection);
		return -1;
	}
	handshake->tls = tls_stream_new(handshake->all->tls->credentials);
	if (handshake->tls) {
		tls_stream_by_record(handshake->tls, handshake->all->tls->by_kernel);
		return 0;
	}
	handshake_close(handshake, CLOSE_memory);
	return -1;
}

bool handshake_secure(struct handshake *handshake)
{
	const char *why;
	int error;

	if (!handshake->tls && begin_tls(handshake))
		return false;
	error = tls_stream_handshake(handshake->tls, &handshake->who, &why);
	if (error == 0) {
		negotiation_secured(&handshake->negotiation);
		return true;
	}
	/* Its next part, or the alert, which leaves if the socket takes it. */
	handshake_send_out(handshake);
	if (error == -EAGAIN) {
		handshake_wait_for(
			handshake, tls_stream_out(handshake->tls).iov_len > 0 ? EV_WRITE : EV_READ);
	} else {
		log_debug("%s: TLS: %s", handshake->peer, why);
		handshake_close(handshake, CLOSE_tls_handshake);
	}
	return false;
}

int handshake_decrypt(struct handshake *handshake)
{
	while (handshake->in_length < sizeof(handshake->in)) {
		ssize_t got = tls_stream_read(handshake->tls, handshake->in + handshake->in_length,
			sizeof(handshake->in) - handshake->in_length);

		if (got == -EAGAIN)
			break;
		if (got <= 0)
			return got == 0 ? -ENODATA : (int)got;
		handshake->in_length += (size_t)got;
	}
	return 0;
}
