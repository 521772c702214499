//! Debian's archive, through a private state of apt: the machine's own
//! packages and sources stay as they are.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::process::{command, output, pipe, pipe_to, run};
use super::progress;
use crate::store::Store;

/// One suite of the archive.
pub struct Apt {
    config: PathBuf,
}

const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Where the machine gets Debian from.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("MORTIS_DEBIAN_MIRROR")
        && !mirror.is_empty()
    {
        return Ok(mirror);
    }
    let format = "$(REPO_URI) $(LABEL)";
    let text = output(command("apt-get").args(["indextargets", "--format", format]))?;
    let targets = || text.lines().filter_map(|line| line.split_once(' '));
    targets()
        .find(|(_, label)| *label == "Debian")
        .or_else(|| targets().find(|(uri, _)| uri.trim_end_matches('/').ends_with("/debian")))
        .map(|(uri, _)| uri.to_owned())
        .context("apt knows no Debian archive here: set MORTIS_DEBIAN_MIRROR to the address of one")
}

impl Apt {
    /// The suite, with an up-to-date index.
    pub fn open(store: &Store, suite: &str) -> Result<Apt> {
        let dir = store.apt(suite);
        let config = dir.join("apt.conf");
        for sub in ["state/lists/partial", "cache/archives/partial", "etc/parts"] {
            fs::create_dir_all(dir.join(sub)).with_context(|| dir.display().to_string())?;
        }
        let keyring = KEYRINGS
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("Debian's keys are missing: apt-get install debian-archive-keyring")?;
        fs::write(dir.join("status"), "")?;
        let source = format!("deb [signed-by={keyring} arch=amd64] {} {suite} main\n", mirror()?);
        fs::write(dir.join("etc/sources.list"), source)?;
        let base = dir.display();
        let text = format!(
            "Dir::State \"{base}/state\";\n\
             Dir::State::status \"{base}/status\";\n\
             Dir::Cache \"{base}/cache\";\n\
             Dir::Etc::sourcelist \"{base}/etc/sources.list\";\n\
             Dir::Etc::sourceparts \"{base}/etc/parts\";\n\
             Dir::Etc::preferences \"{base}/etc/preferences\";\n\
             Dir::Etc::preferencesparts \"{base}/etc/parts\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\n\
             APT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::Retries \"3\";\n"
        );
        fs::write(&config, text)?;
        let apt = Apt { config };
        progress(format_args!("reading the index of {suite}"));
        run(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("APT_CONFIG", &self.config);
        command
    }

    /// The newest release R for which the package `linux-image-R` exists, with
    /// R starting and ending as asked.
    pub fn newest_release(&self, series: &str, flavour: &str) -> Result<String> {
        let prefix = format!("linux-image-{series}");
        let names = output(self.command("apt-cache").args(["pkgnames", &prefix]))?;
        names
            .lines()
            .filter_map(|name| name.strip_prefix("linux-image-"))
            .filter(|release| is_of_flavour(release, flavour))
            .max_by(|a, b| natural(a, b))
            .map(str::to_owned)
            .with_context(|| format!("the archive has no {prefix}*-{flavour}"))
    }

    /// Whether the suite has a package called `name`.
    pub fn has(&self, name: &str) -> Result<bool> {
        let names = output(self.command("apt-cache").args(["pkgnames", name]))?;
        Ok(names.lines().any(|found| found == name))
    }

    /// Downloads packages into `dir`.
    pub fn download(&self, packages: &[String], dir: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(dir)?;
        run(self.command("apt-get").current_dir(dir).arg("download").args(packages))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            files.push(entry?.path());
        }
        if files.len() < packages.len() {
            bail!("apt-get download left packages out in {}", dir.display());
        }
        Ok(files)
    }

    /// The packages and all that they depend on, by name.
    pub fn closure(&self, packages: &[&str]) -> Result<Vec<String>> {
        let plan = output(
            self.command("apt-get")
                .args(["install", "--simulate", "--no-install-recommends"])
                .args(packages),
        )?;
        let name = |line: &str| Some(line.strip_prefix("Inst ")?.split(' ').next()?.to_owned());
        Ok(plan.lines().filter_map(name).collect())
    }
}

/// Unpacks whole packages over each other.
pub fn unpack(packages: &[PathBuf], dir: &Path) -> Result<()> {
    // The links that make /bin and /usr/bin one are no package's.
    fs::create_dir_all(dir.join("usr"))?;
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(dir.join("usr").join(name))?;
        let link = dir.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(format!("usr/{name}"), link)?;
        }
    }
    for package in packages {
        // `dpkg-deb -x` would put the folders that older packages have in the links' place.
        pipe(
            command("dpkg-deb").arg("--fsys-tarfile").arg(package),
            command("tar").args(["-x", "-p", "--keep-directory-symlink", "-C"]).arg(dir),
        )?;
    }
    Ok(())
}

/// Unpacks the members that match the patterns (as tar's wildcards). There may be none of some.
pub fn unpack_members(package: &Path, dir: &Path, patterns: &[String]) -> Result<()> {
    // tar's code when a pattern matched nothing.
    const NOT_FOUND: i32 = 2;
    pipe_to(
        command("dpkg-deb").arg("--fsys-tarfile").arg(package),
        command("tar").arg("-x").arg("-C").arg(dir).arg("--wildcards").args(patterns),
        &[0, NOT_FOUND],
    )
}

/// Whether `release` is a version and then the flavour. Other flavours may end the same
/// (`-cloud-amd64` as `-amd64`), and a version may have dashes of its own (`6.1.0-50`), but each
/// part of it has a digit.
fn is_of_flavour(release: &str, flavour: &str) -> bool {
    let version = release.strip_suffix(flavour).and_then(|rest| rest.strip_suffix('-'));
    let part = version.and_then(|version| version.rsplit('-').next());
    part.is_some_and(|part| part.contains(|c: char| c.is_ascii_digit()))
}

/// Compares with runs of digits as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let mut parts: Vec<(u64, String)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number = rest[..digits].parse().unwrap_or(0);
            rest = &rest[digits..];
            let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            parts.push((number, rest[..word].to_owned()));
            rest = &rest[word..];
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::{is_of_flavour, natural};
    use std::cmp::Ordering;

    #[test]
    fn flavours_that_end_the_same() {
        let releases = [
            "6.1.0-50-amd64",
            "6.12.117+deb13-amd64",
            "6.12.117+deb13-cloud-amd64",
            "6.12.117+deb13-rt-amd64",
            "6.12.117+deb13-amd64-dbg",
        ];
        let of = |flavour| {
            let is_one = |release: &&&str| is_of_flavour(release, flavour);
            releases.iter().filter(is_one).copied().collect::<Vec<_>>()
        };
        assert_eq!(of("amd64"), &releases[..2]);
        assert_eq!(of("cloud-amd64"), &releases[2..3]);
        assert_eq!(of("rt-amd64"), &releases[3..4]);
    }

    #[test]
    fn releases_in_order() {
        let order = natural("6.12.107+deb13-cloud-amd64", "6.12.9+deb13-cloud-amd64");
        assert_eq!(order, Ordering::Greater);
        assert_eq!(natural("7.2.13", "7.2.13"), Ordering::Equal);
        assert_eq!(natural("6.12.107", "6.12.117"), Ordering::Less);
    }
}
