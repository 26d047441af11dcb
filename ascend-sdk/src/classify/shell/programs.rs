//! What is known of programs and their arguments.

/// When a program runs what its arguments name.
enum Runs {
    /// With any arguments.
    Always,
    /// With one of these options: long ones also shortened, as GNU's `getopt`
    /// takes them, short ones also in a cluster.
    With(&'static [&'static str]),
    /// Unless its subcommand is one of these, and none of the options is there.
    UnlessReading(&'static [&'static str], &'static [&'static str]),
}

/// Whether the program runs another one, or code, that its arguments name.
pub(super) fn is_wrapper(program: &str, arguments: &[String]) -> bool {
    let named = program.to_ascii_lowercase();
    let program = unversioned(program);
    if is_machine(&named) || program.starts_with("ld-") || program.starts_with("ld.so") {
        return true;
    }
    if program == "arch" {
        return !arguments.is_empty();
    }
    // GNU's programs have a `g` before their names where the system has its own.
    let runs = runs(&program).or_else(|| program.strip_prefix('g').and_then(runs));
    let Some(runs) = runs else { return false };
    // `tar xIf …`: its first word is a cluster of options, dash or not.
    if let (true, Some(first)) = (program.ends_with("tar"), arguments.first())
        && !first.starts_with('-')
        && is_wrapper(&program, &[format!("-{first}")])
    {
        return true;
    }
    match runs {
        Runs::Always => true,
        Runs::With(options) => has_any(arguments, options),
        Runs::UnlessReading(subcommands, options) => {
            // Options before the subcommand can take a value, so that what
            // looks like the subcommand is none.
            let subcommand = arguments.first();
            let reads = subcommand.is_some_and(|word| subcommands.contains(&word.as_str()));
            !reads || has_any(arguments, options)
        }
    }
}

/// Other names of `setarch`, which runs its arguments.
fn is_machine(program: &str) -> bool {
    matches!(
        program,
        "i386"
            | "i486"
            | "i586"
            | "i686"
            | "athlon"
            | "x86_64"
            | "uname26"
            | "ppc"
            | "ppc32"
            | "ppc64"
            | "ppc64le"
            | "ppc32le"
            | "s390"
            | "s390x"
            | "sparc"
            | "sparc32"
            | "sparc32bash"
            | "sparc64"
            | "mips"
            | "mips32"
            | "mips64"
            | "ia64"
            | "alpha"
            | "parisc"
            | "parisc32"
            | "parisc64"
            | "arm"
            | "armv7l"
            | "armv8l"
            | "aarch64"
            | "riscv32"
            | "riscv64"
            | "loongarch64"
    )
}

/// `python3.13` and `gcc-14` without their versions, lower case, as file systems that
/// fold case find them.
fn unversioned(program: &str) -> String {
    let program = program.to_ascii_lowercase();
    let program = program.strip_suffix(".exe").unwrap_or(&program);
    let bare = program.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    // `7z` and the like are nothing but a version.
    if bare.is_empty() { program.to_owned() } else { bare.to_owned() }
}

fn runs(program: &str) -> Option<Runs> {
    use Runs::{Always, UnlessReading, With};
    Some(match program {
        // Shells.
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "mksh" | "fish" | "csh" | "tcsh"
        | "yash" | "trap" | "coproc" | "noglob" | "nocorrect" | "rbash" | "nu" | "elvish"
        | "xonsh" | "pwsh" | "powershell" | "cmd" | "busybox" | "toybox" | "eval" | "exec"
        | "source" | "." | "command" | "builtin" => Always,
        // Programs that run a program.
        "env" | "xargs" | "parallel" | "sudo" | "doas" | "su" | "runuser" | "pkexec" | "nice"
        | "ionice" | "chrt" | "taskset" | "timeout" | "nohup" | "setsid" | "stdbuf"
        | "unbuffer" | "time" | "watch" | "entr" | "flock" | "chroot" | "unshare" | "nsenter"
        | "bwrap" | "firejail" | "setarch" | "linux" | "systemd-run" | "start-stop-daemon"
        | "capsh" | "setpriv" | "prlimit" | "script" | "expect" | "screen" | "tmux" | "strace"
        | "ltrace" | "gdb" | "lldb" | "valgrind" | "perf" | "catchsegv" | "run-parts" | "at"
        | "batch" | "crontab" | "ssh" | "scp" | "sftp" | "rsh" | "mosh" | "sshpass"
        | "dbus-run-session" | "xvfb-run" | "fakeroot" | "proot" | "socat" | "nc" | "ncat"
        | "netcat" | "direnv" | "coreutils" | "ssh-agent" | "sg" | "ldd" | "ld" => Always,
        // Languages.
        "python" | "pythonw" | "pypy" | "ipython" | "perl" | "ruby" | "irb" | "node" | "nodejs"
        | "deno" | "bun" | "php" | "lua" | "luajit" | "tclsh" | "wish" | "r" | "rscript"
        | "julia" | "java" | "jshell" | "groovy" | "scala" | "ghc" | "runghc" | "guile"
        | "racket" | "sbcl" | "emacs" | "osascript" | "gawk" | "mawk" | "nawk" | "awk" | "sed"
        | "gsed" | "ed" | "ex" | "dc" | "m4" => Always,
        // Programs with a shell escape.
        "vi" | "vim" | "nvim" | "view" | "nano" | "less" | "more" | "most" | "man" | "info"
        | "pg" | "ftp" | "lftp" | "telnet" | "mail" | "mailx" | "mutt" | "psql" | "mysql"
        | "mariadb" | "sqlite" | "sqlcmd" | "gnuplot" | "octave" => Always,
        // Build tools and package managers run what files say.
        "make" | "gmake" | "bmake" | "cmake" | "ninja" | "meson" | "just" | "task" | "rake"
        | "ant" | "mvn" | "gradle" | "bazel" | "scons" | "cargo" | "rustup" | "rustc" | "go"
        | "npm" | "npx" | "pnpm" | "pnpx" | "yarn" | "corepack" | "pip" | "pipx" | "uv" | "uvx"
        | "poetry" | "conda" | "gem" | "bundle" | "composer" | "apt" | "apt-get" | "dpkg"
        | "yum" | "dnf" | "rpm" | "pacman" | "brew" | "snap" | "nix" | "nix-shell"
        | "nix-build" | "guix" | "gcc" | "g++" | "cc" | "c++" | "clang" | "clang++" => Always,
        // Containers and clusters.
        "docker" | "podman" | "nerdctl" | "ctr" | "runc" | "lxc" | "kubectl" | "oc" | "helm"
        | "vagrant" | "ansible" | "ansible-playbook" | "terraform" | "salt" => Always,
        "find" | "gfind" => With(&[
            "-exec",
            "-execdir",
            "-ok",
            "-okdir",
            "-delete",
            "-fprint",
            "-fprint0",
            "-fprintf",
            "-fls",
            "-files0-from",
        ]),
        "fd" | "fdfind" => With(&["--exec", "--exec-batch", "-x", "-X"]),
        "git" => UnlessReading(
            &[
                "status",
                "log",
                "diff",
                "show",
                "rev-parse",
                "ls-files",
                "ls-tree",
                "blame",
                "describe",
                "shortlog",
                "cat-file",
                "rev-list",
                "name-rev",
                "merge-base",
            ],
            &[
                "-c",
                "--exec-path",
                "--config-env",
                "--ext-diff",
                "--textconv",
                "--output",
                "-o",
                "-O",
                "--open-files-in-pager",
                "--upload-pack",
                "--receive-pack",
                "--paginate",
                "--filters",
                "--exec",
                "--git-dir",
                "--work-tree",
            ],
        ),
        "hg" | "svn" | "jj" | "bzr" | "fossil" => Always,
        "tar" | "gtar" | "bsdtar" => With(&[
            "--to-command",
            "--checkpoint-action",
            "--use-compress-program",
            "--rsh-command",
            "--rmt-command",
            "--info-script",
            "--new-volume-script",
            "-I",
            "-F",
        ]),
        "cpio" => With(&["--rsh-command", "--rmt-command"]),
        "zip" | "unzip" => With(&["-T", "-TT", "--test", "--unzip-command"]),
        "rsync" => With(&["-e", "--rsh", "--rsync-path"]),
        "sort" => With(&["--compress-program"]),
        "split" => With(&["--filter"]),
        "rg" => With(&["--pre", "--hostname-bin", "--search-zip", "-z"]),
        "ack" | "ag" => With(&["--pager", "--output"]),
        // Objects can be shortened.
        "ip" => With(&[
            "net", "netn", "netns", "v", "vr", "vrf", "-b", "-ba", "-bat", "-batc", "-batch",
        ]),
        "install" => With(&["-s", "--strip", "--strip-program"]),
        "tcpdump" => With(&["-z"]),
        "curl" => With(&["-K", "--config"]),
        "wget" => With(&["--use-askpass", "--config", "-e", "--execute"]),
        "openssl" => With(&["-engine", "-provider", "-config", "engine"]),
        "systemctl" | "journalctl" => UnlessReading(&["status", "list-units", "is-active"], &[]),
        _ => return None,
    })
}

fn has_any(arguments: &[String], options: &[&str]) -> bool {
    arguments.iter().any(|argument| options.iter().any(|option| is_option(argument, option)))
}

/// Whether `argument` is `option`, also with a value, shortened or clustered.
/// Tells too often rather than too rarely.
fn is_option(argument: &str, option: &str) -> bool {
    if argument == option {
        return true;
    }
    if let Some(long) = option.strip_prefix("--") {
        let Some(given) = argument.strip_prefix("--") else { return false };
        let given = given.split('=').next().unwrap_or(given);
        return !given.is_empty() && long.starts_with(given);
    }
    let mut letters = option.chars().skip(1);
    if let (true, Some(letter), None) = (option.starts_with('-'), letters.next(), letters.next()) {
        return argument.starts_with('-')
            && !argument.starts_with("--")
            && argument.contains(letter);
    }
    // A long one with one dash, as openssl and find have them: also with two, and with
    // its value.
    let Some(long) = option.strip_prefix('-') else { return false };
    let given = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
    given.is_some_and(|given| given.split('=').next() == Some(long))
}

/// Whether the program is known to destroy, or to change rights or the system.
pub(super) fn is_destructive(program: &str, arguments: &[String]) -> bool {
    let program = unversioned(program);
    destroys(&program, arguments)
        || program.strip_prefix('g').is_some_and(|program| destroys(program, arguments))
}

fn destroys(program: &str, arguments: &[String]) -> bool {
    match program {
        "rm" | "rmdir" | "unlink" | "shred" | "wipe" | "srm" | "dd" | "truncate" | "fdisk"
        | "sfdisk" | "parted" | "wipefs" | "blkdiscard" | "mkswap" | "mount" | "umount"
        | "shutdown" | "reboot" | "halt" | "poweroff" | "init" | "telinit" | "kill" | "pkill"
        | "killall" | "chmod" | "chown" | "chgrp" | "chattr" | "setfacl" | "setcap" | "passwd"
        | "useradd" | "userdel" | "usermod" | "visudo" | "insmod" | "rmmod" | "modprobe"
        | "sysctl" | "iptables" | "nft" | "ufw" => true,
        "rsync" => has_any(arguments, &["--delete", "--remove-source-files"]),
        _ => program.starts_with("mkfs"),
    }
}

/// Whether the program only reads, with these arguments.
pub(super) fn is_reader(program: &str, arguments: &[String]) -> bool {
    match program {
        "ls" | "cat" | "pwd" | "echo" | "head" | "tail" | "wc" | "stat" | "whoami" | "id"
        | "uname" | "basename" | "dirname" | "realpath" | "readlink" | "true" | "false" | "seq"
        | "printf" | "cut" | "tr" | "nl" | "tac" | "rev" | "comm" | "cmp" | "diff" | "grep"
        | "egrep" | "fgrep" | "df" | "du" | "uptime" | "nproc" | "groups" | "cksum" | "md5sum"
        | "sha1sum" | "sha256sum" | "sha512sum" | "test" | "expr" | "fold" | "paste" | "od"
        | "which" => true,
        "date" => shows_the_date(arguments),
        "arch" | "hostname" => arguments.is_empty(),
        "sort" => {
            // Windows' own takes `/O file`.
            let writes = cfg!(windows) && arguments.iter().any(|it| it.starts_with('/'));
            !writes && !has_any(arguments, &["--output", "-o", "--compress-program"])
        }
        "find" => !is_wrapper(program, arguments),
        _ => false,
    }
}

/// Whether `date` only shows it: a time by itself sets the clock, and so does, on BSD,
/// one that `-f` describes.
fn shows_the_date(arguments: &[String]) -> bool {
    if has_any(arguments, &["--set", "-s", "-f"]) {
        return false;
    }
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-d" | "-r" => {
                arguments.next();
            }
            other if other.starts_with(['+', '-']) => {}
            _ => return false,
        }
    }
    true
}
