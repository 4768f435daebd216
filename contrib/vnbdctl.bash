# bash completion for vnbdctl(8): commands and options as --help tells them, exports as the server does.
_vnbdctl()
{
	local word=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]} usage part at used='' choices='' socket=''
	local -a words=() parts
	COMPREPLY=()

	# What was typed of the command, without vnbdctl's own options; bash takes "--option=value" for three words.
	for ((at = 1; at < COMP_CWORD; at++)); do
		case ${COMP_WORDS[at]} in
		--socket | -s)
			((at++))
			[[ ${COMP_WORDS[at]} != = ]] || ((at++))
			socket=${COMP_WORDS[at]}
			;;
		--json | -j) ;;
		--*)
			used+=" ${COMP_WORDS[at]}"
			[[ ${COMP_WORDS[at + 1]} != = ]] || ((at += 2))
			;;
		*) words+=("${COMP_WORDS[at]}") ;;
		esac
	done

	while IFS= read -r usage; do
		read -ra parts <<<"$usage"
		for ((at = 0; at < ${#words[@]}; at++)); do
			part=${parts[at]-}
			[[ $part == [A-Z[]* && $part != '[--'* || $part == "${words[at]}" ]] || continue 2
		done
		part=${parts[at]-}
		case $part in
		[a-z]*) choices+=" $part" ;;
		EXPORT | '[EXPORT]') choices+=" $(_vnbdctl_exports "$program" "$socket")" ;;
		FILE) mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$word") ;;
		esac
		for part in "${parts[@]:at}"; do
			[[ $part == '[--'* && $at -gt 0 ]] || continue
			part=${part#[}
			part=${part%%[=\[]*}
			[[ " $used " == *" $part "* ]] || choices+=" $part"
		done
	done < <("$program" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z]\)/\1/p')

	[[ ${#words[@]} -gt 0 ]] || choices+=' --socket --json --help --version'
	mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W "$choices" -- "$word")
}

# Names that a shell would want quoted are left to the one who types.
_vnbdctl_exports()
{
	"$1" ${2:+--socket "$2"} --json exports 2>/dev/null | grep -o '"name":"[[:alnum:]_.:@%+/-]*"' | cut -d'"' -f4
}

complete -F _vnbdctl vnbdctl
