/* conf/address.h -- where to listen, as an operator writes it.
 *
 *   HOST:PORT       10.0.0.7:10809, storage1:10809; PORT 0: any free one; an empty HOST: every interface
 *   [IPv6]:PORT     [::1]:10809
 *   unix:PATH       unix:/run/vnbd.sock
 *   vsock:CID:PORT  vsock:3:10809; without CID: whatever this machine is called by the others, as a host or a guest
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct address {
	struct sockaddr_storage sockaddr;
	socklen_t length;
};

/* One host name may stand for several addresses; more are left out. */
#define ADDRESS_RESOLVED_MAX 16

/* address_looks() - whether @text has the form of an address; nothing is resolved. */
bool address_looks(const char *text);

/* address_resolve() - up to ADDRESS_RESOLVED_MAX socket addresses for @text.
 * Returns how many, > 0; or -1 with the reason in @why (@why_size bytes): not an address, the path too long for a Unix
 * socket, or the resolver's words. May block on name service. */
int address_resolve(const char *text, struct address out[ADDRESS_RESOLVED_MAX], char *why, size_t why_size);

/* What address_resolve() takes, for an operator. */
#define ADDRESS_FORMS "HOST:PORT, [IPv6]:PORT, unix:PATH or vsock:[CID:]PORT"

/* address_uri() - @address as an NBD URI without export: "nbd://127.0.0.1:10809", "nbd+unix:///?socket=/run/x",
 * "nbd+vsock://3:10809", where "any" stands for every CID. A socket in the abstract namespace has no URI: "unix:@name".
 * Returns @out, cut at @out_size. */
const char *address_uri(const struct address *address, char *out, size_t out_size);

/* ADDRESS_TEXT_SIZE holds every address_text(): "127.0.0.1:40123", "[::1]:40123", "vsock:3:40123", "unix:/run/x",
 * "unix:@name" in the abstract namespace, or "unix:" for an unnamed peer. */
#define ADDRESS_TEXT_SIZE 160
const char *address_text(const struct address *address, char out[ADDRESS_TEXT_SIZE]);
