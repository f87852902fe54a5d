//! SVG to PNG, with a font that comes with the harness: the same SVG gives the
//! same picture on every machine, whatever fonts it has.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Pixels for each SVG unit, for sharp text on dense screens.
const SCALE: f32 = 1.5;

/// The font, parsed once.
static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    let family = fonts
        .faces()
        .next()
        .and_then(|face| face.families.first())
        .map(|(name, _)| name.clone())
        .unwrap_or_default();
    fonts.set_sans_serif_family(family);
    Arc::new(fonts)
});

/// The picture as PNG.
pub fn from_svg(svg: &str) -> Result<Vec<u8>> {
    let options = Options {
        fontdb: Arc::clone(&FONTS),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).context("read the figure's SVG")?;
    let size = tree
        .size()
        .to_int_size()
        .scale_by(SCALE)
        .context("size the picture")?;
    let mut picture = Pixmap::new(size.width(), size.height()).context("make the picture")?;
    resvg::render(
        &tree,
        Transform::from_scale(SCALE, SCALE),
        &mut picture.as_mut(),
    );
    picture.encode_png().context("encode the picture")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_drawn_without_fonts_of_the_system() {
        let page = |text: &str| {
            from_svg(&format!(
                "<svg width=\"80\" height=\"20\" xmlns=\"http://www.w3.org/2000/svg\">\
                 <text x=\"0\" y=\"15\" font-family=\"sans-serif\">{text}</text></svg>"
            ))
            .unwrap()
        };
        let (empty, word) = (page(""), page("µs"));
        assert!(word.starts_with(b"\x89PNG"));
        assert_ne!(empty, word, "the font draws nothing");
    }
}
