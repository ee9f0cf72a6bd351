//! Tools of a generation: `setup-python` and `setup-node` find them, aliases stand in, what is
//! missing is named.

use std::path::Path;

use bundle::Item;
use bundle::manifest::{Origin, Tool, ToolFormat};
use store::Store;
use supply::testing::Draft;
use testkit::Result;
use testkit::http::get;

use crate::content::{add_debian, add_wheels, node, python};
use crate::site::Site;

pub(crate) fn add_tool(
    draft: &mut Draft,
    store: &Store,
    (name, version): (&str, &str),
    archive: &Path,
    strip: u32,
) -> Result {
    let d = draft.blob(store, &std::fs::read(archive)?);
    draft.item(Item::Toolcache(Tool {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "x64".to_owned(),
        d,
        format: ToolFormat::TarGz,
        strip,
        source: Origin::default(),
    }));
    Ok(())
}

#[test]
fn setup_actions_use_the_tools_of_the_generation() -> Result {
    let (python_version, python_archive) = python()?;
    let (node_version, node_archive) = node()?;
    let mut site = Site::prepared(&|draft, store| {
        add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
        add_wheels(draft, store, |_| true)?;
        add_tool(
            draft,
            store,
            ("Python", &python_version),
            &python_archive,
            1,
        )?;
        add_tool(draft, store, ("node", &node_version), &node_archive, 1)
    })?;
    let minor = python_version
        .rsplit_once('.')
        .map_or("", |(minor, _)| minor);
    let settings = format!("[toolcache.aliases]\n\"python 3.7\" = \"{minor}\"\n");
    std::fs::write(site.appliance.data().join("config.toml"), settings)?;
    site.appliance.start()?;
    site.token = site.appliance.user("dev", &[])?;
    // The image has the same Python; without it, only the generation's is left.
    let steps = r#"      - run: rm -f /usr/bin/python3*
      - { id: py, uses: actions/setup-python@v5, with: { python-version: "MINOR" } }
      - run: |
          test "$(python -c 'import platform; print(platform.python_version())')" = VERSION
          echo "output ${{ steps.py.outputs.python-version }} in $pythonLocation"
          python -m pip install pytest && python -m pytest --version
      - { uses: actions/setup-python@v5, with: { python-version: "3.7" } }
      - { id: n, uses: actions/setup-node@v4, with: { node-version: "lts/*" } }
      - run: test "$(node --version)" = "${{ steps.n.outputs.node-version }}" && node -p '"node says " + 6 * 7'
      - { uses: actions/setup-python@v5, with: { python-version: "3.1" } }
"#;
    let steps = steps
        .replace("MINOR", minor)
        .replace("VERSION", &python_version);
    let (code, log) = site.job(&steps)?;
    assert_eq!(code, 1, "{log}");
    let place = format!("in /opt/hostedtoolcache/Python/{python_version}/x64");
    assert!(log.contains(&place), "{log}");
    assert!(log.contains("node says 42"), "{log}");
    let stood_in = format!("python 3.7 is served by {minor}, as the settings of this site allow");
    assert!(log.contains(&stood_in), "{log}");
    assert!(
        log.contains(&format!("stood in        {stood_in}")),
        "{log}"
    );
    let missing = format!("in this generation: {python_version}");
    assert!(
        log.contains("Python 3.1 is not in this image") && log.contains(&missing),
        "{log}"
    );

    let bearer = format!("Bearer {}", site.token);
    let known = ("authorization", bearer.as_str());
    let address = site.appliance.address();
    let listed = get(address, "/toolcache/versions-manifest.json", &[known])?;
    let listed = listed.json()?;
    let named = |tool: &str| {
        listed
            .as_array()
            .and_then(|l| l.iter().find(|v| v["tool"] == tool))
    };
    let python = named("Python").ok_or("no Python in the list")?;
    assert_eq!(python["version"], python_version.as_str());
    let url = python["files"][0]["download_url"]
        .as_str()
        .ok_or("no url")?;
    let (_, path) = url.split_once(address).ok_or("another server")?;
    let archive = get(address, path, &[known, ("range", "bytes=0-1")])?;
    assert_eq!((archive.status, archive.body), (206, vec![0x1f, 0x8b]));
    let wants = site.wants()?;
    assert!(
        wants.contains(&("toolcache Python 3.1".to_owned(), true)),
        "{wants:?}"
    );
    Ok(())
}
