#!/bin/bash
# One vnbd-client with six devices, one machine with six disks of different kinds (1, 2 and 4 queues, split and packed
# rings, with and without a switch for the cache and discards), all at work at once while the machine is given memory.
# If this fails, a virtual machine's disk works only as our own deployments set it up, or not after memory was added.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs python3

# QUEUES:CONFIG-WCE:DISCARD:PACKED
kinds=(1:on:on:off 2:off:on:off 4:on:off:off 1:off:off:on 2:on:on:on 4:off:on:on)
more_mib=256

plan $((6 + ${#kinds[@]}))
exports=()
disks=()
for i in "${!kinds[@]}"; do
	IFS=: read -r queues wce discard packed <<<"${kinds[i]}"
	truncate -s 8M "$tmp/disk$i"
	exports+=(--export "vm$i=$tmp/disk$i")
	printf '[vm%s]\nuri = nbd+unix:///vm%s?socket=%s/nbd\nsocket-path = %s/vm%s\nnum-queues = 4\nthreads = 2\n\n' \
		"$i" "$i" "$tmp" "$tmp" "$i" >>"$tmp/client.conf"
	disks+=(--vhost-user "$tmp/vm$i,num-queues=$queues,packed=$packed,config-wce=$wce,discard=$discard,write-zeroes=$discard")
done
start_server --listen "unix:$tmp/nbd" "${exports[@]}"
start client "$build/vnbd-client" --config "$tmp/client.conf"
ok "all devices are served" wait_until $ready_s eval '[ "$(said client "listening on ")" -eq ${#kinds[@]} ]'

guest_start kinds --timeout 200 --mem 256M --append memhp_default_state=online_movable \
	--env KINDS="$(printf '%s\n' "${kinds[@]%:*}" | tr '\n' ' ')" --env MORE_MIB=$more_mib "${disks[@]}" \
	-- -smp 4 -m slots=1,maxmem=2G -qmp "unix:$tmp/qmp,server=on,wait=off"
ok "the guest has written to all of them" guest_says "ready for memory" 120
ok "it is given memory" "$tests/guest/plug-memory" "$tmp/qmp" $more_mib
ok "it goes on with that, and sees no error and no mismatch" guest_end
ok "the client ends cleanly" stop client
ok "the server ends cleanly" stop server
letters=(a b c d e f)
for i in "${!kinds[@]}"; do
	same "${kinds[i]}: every byte is what the guest read" "$(guest_result "vd${letters[i]}-sha512")" \
		"$(sha512_of "$tmp/disk$i")"
done
