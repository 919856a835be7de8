//! The comparison as one page that needs nothing else: no script, no font, no picture from anywhere. Light or dark as the
//! reader's system is. Pure.

use super::{LINES, NONE, clip, foreign, text};
use serde_json::Value;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#f8fafc;--card:#fff;--ink:#0f172a;--dim:#64748b;--faint:#94a3b8;--line:#e2e8f0;\
--bar:#3b82f6;--bad:#b91c1c;--c0:#dcfce7;--d0:#14532d;--c1:#dbeafe;--d1:#1e3a8a;--c2:#fef3c7;--d2:#78350f;\
--c3:#e2e8f0;--d3:#334155;--k:#0f172a;--kt:#f8fafc}
@media(prefers-color-scheme:dark){:root{--back:#0b1120;--card:#111a2e;--ink:#e2e8f0;--dim:#94a3b8;--faint:#64748b;\
--line:#1e293b;--bar:#60a5fa;--bad:#fca5a5;--c0:#14532d;--d0:#bbf7d0;--c1:#1e3a8a;--d1:#dbeafe;--c2:#713f12;--d2:#fde68a;\
--c3:#334155;--d3:#e2e8f0;--k:#e2e8f0;--kt:#0b1120}}
*{box-sizing:border-box}
body{margin:0;padding:2rem;background:var(--back);color:var(--ink);\
font:14px/1.4 system-ui,'Segoe UI',Roboto,Helvetica,Arial,'DejaVu Sans',sans-serif}
h1{margin:0;font-size:1.7rem;letter-spacing:-.02em}
.many{font-size:11px}.many td,.many thead th{min-width:7rem}.many td,.many th{padding:.35rem .6rem}\n\
p{margin:.2rem 0 1.2rem;color:var(--dim)}
div{max-width:max-content;overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:14px}
table{border-collapse:separate;border-spacing:0}
th,td{padding:.4rem 1rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
td,thead th{min-width:10rem;max-width:17rem;overflow-wrap:anywhere}
tbody th{position:sticky;left:0;background:var(--card);color:var(--dim);font-weight:500;white-space:nowrap;\
border-right:1px solid var(--line)}
thead th{padding-top:.8rem;font-size:1.05em;vertical-align:bottom}
thead th:first-child{min-width:0;position:sticky;left:0;background:var(--card);border-right:1px solid var(--line)}
small{display:block;font-weight:400;font-size:.8em;color:var(--dim)}
b{display:inline-block;padding:.1rem .6rem;border-radius:99px;font-weight:600;font-size:.9em;white-space:nowrap}
.v0{background:var(--c0);color:var(--d0)}.v1{background:var(--c1);color:var(--d1)}
.v2{background:var(--c2);color:var(--d2)}.v3{background:var(--c3);color:var(--d3)}
.n{color:var(--faint)}.x{color:var(--bad);font-weight:600}
i{display:block;height:5px;min-width:2px;margin-top:.35rem;border-radius:3px;background:var(--bar)}
tfoot th,tfoot td{border:0;background:var(--k);color:var(--kt);font-weight:600}
tfoot th{position:sticky;left:0}tfoot td{max-width:none;min-width:0}tfoot span{position:sticky;left:9rem}
@media print{body{padding:0}div{overflow:visible}}
";

/// The kinds of images that have a colour of their own.
const VERDICTS: [&str; 3] = ["single binary", "distroless-style", "distribution"];

/// More columns than a slide takes in its usual letters.
const MANY: usize = 7;
/// Longer names lose their middle; whole they are shown where the mouse stands.
const LONGEST_NAME: usize = 48;

pub(super) fn page(document: &Value) -> String {
    let images = document["images"].as_array().map(Vec::as_slice).unwrap_or_default();
    let largest = images.iter().filter_map(|image| image["size"].as_u64()).max().unwrap_or(0).max(1);
    let mut head = String::new();
    for image in images {
        let mut about = vec![text(&image["kind"])];
        about.extend(foreign(image).map(|is| format!("for {is}")));
        let name = text(&image["name"]);
        let (shown, about) = (escaped(&clip(&name, LONGEST_NAME)), escaped(&about.join(", ")));
        let name = escaped(&name);
        head += &format!("<th title=\"{name}\">{shown}<small>{about}</small></th>");
    }
    let mut body = String::new();
    for (label, of) in &LINES {
        let cells: String = images.iter().map(|image| cell(label, &of(image), image, largest)).collect();
        body += &format!("<tr><th>{}</th>{cells}</tr>\n", sentence(label));
    }
    let (said, of_all) = match images.len() {
        1 => ("One root file system. It has no kernel: it runs on the host's.".to_owned(), ""),
        count => {
            (format!("{count} root file systems. None of them has a kernel: they run on the host's."), ": one for all")
        }
    };
    let many = if images.len() > MANY { " class=many" } else { "" };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>What is inside</title>\n<style>\n{STYLE}</style>\n\
         <h1>What is inside</h1>\n<p>{said}</p>\n<div{many}><table>\n<thead><tr><th></th>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n\
         <tfoot><tr><th>Kernel</th><td colspan=\"{}\"><span>{}</span></td></tr></tfoot>\n</table></div>\n</html>\n",
        images.len(),
        escaped(&format!("{}, the host's{of_all}", text(&document["kernel"]))),
    )
}

fn cell(label: &str, said: &str, image: &Value, largest: u64) -> String {
    let shown = escaped(said);
    match label {
        "VERDICT" => {
            let colour = VERDICTS.iter().position(|known| *known == said).unwrap_or(VERDICTS.len());
            format!("<td><b class=v{colour}>{shown}</b></td>")
        }
        "SIZE" => {
            let part = image["size"].as_u64().unwrap_or(0) as f64 / largest as f64 * 100.0;
            format!("<td>{shown}<i style=\"width:{part:.1}%\"></i></td>")
        }
        "DISTRIBUTION" if said != NONE => format!("<td>{}</td>", escaped(&text(&image["distribution"]["name"]))),
        "CERTIFICATES" if said != NONE => {
            format!("<td title=\"{}\">{shown}</td>", escaped(&text(&image["certificates"]["path"])))
        }
        "SETUID FILES" if said != NONE => {
            let paths: Vec<String> = image["setuid"].as_array().into_iter().flatten().map(text).collect();
            format!("<td title=\"{}\">{shown}</td>", escaped(&paths.join("\n")))
        }
        "IT LACKS" if said != "nothing" => format!("<td class=x>{shown}</td>"),
        _ if said == NONE || said == "nothing" => format!("<td class=n>{shown}</td>"),
        _ => format!("<td>{shown}</td>"),
    }
}

/// `ENTRY POINT` is for terminals.
fn sentence(label: &str) -> String {
    let lower = label.to_lowercase();
    format!("{}{}", &label[..1], &lower[1..])
}

/// Names come from images: none of them becomes a tag, an attribute or another direction of writing.
fn escaped(text: &str) -> String {
    let text = super::ui::printable(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_from_an_image_is_no_markup() {
        let evil = "</td><script>alert(1)</script>\u{202e}\"";
        let image = json!({ "name": evil, "kind": "image", "verdict": evil, "distribution": { "name": evil }, "setuid": [evil] });
        let page = page(&json!({ "kernel": "6.1", "images": [image] }));
        assert!(!page.contains("<script") && !page.contains('\u{202e}') && page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("http"), "nothing comes from elsewhere");
    }
}
