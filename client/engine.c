/* client/engine.c -- which engine a connection gets.
 *
 * What libnbd has negotiated is taken over as it is. It receives a handshake's messages by their lengths, never more, and
 * servers send nothing of their own accord, so no byte for us is left in the handle; and nbd_close() closes its socket
 * without a word.
 */
#include "client/engine.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/send_queue.h"

static bool wants_libnbd(struct nbd_handle *nbd)
{
	const char *wanted = getenv("VNBD_ENGINE");

	return nbd_get_tls_negotiated(nbd) != 0 || (wanted && strcmp(wanted, "libnbd") == 0);
}

struct engine *engine_new(
	struct nbd_handle *nbd, const char *uri, struct command_pool pool, struct engine_owner *owner)
{
	struct engine *engine;
	int fd;

	send_queue_bound(nbd_aio_get_fd(nbd));
	if (wants_libnbd(nbd))
		return engine_libnbd_new(nbd, uri, owner);
	fd = fcntl(nbd_aio_get_fd(nbd), F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	engine = engine_socket_new(fd, nbd_get_structured_replies_negotiated(nbd) > 0, pool, owner);
	if (!engine)
		close(fd);
	else
		nbd_close(nbd);
	return engine;
}
